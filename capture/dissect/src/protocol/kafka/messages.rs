//! What each message of each version is made of, as Kafka's own protocol reference has it:
//! <https://kafka.apache.org/protocol#protocol_messages>, and how that is made into steps.
//!
//! A message is a list of fields, `name type`, in the order sent. A version behind the type says
//! since when or how long there was such a field (`3+`, `0-12`); `=word` says what it means to a row.
//! `name [...]` is an array of what stands in the brackets, `text*` one of texts, `name {...}` a
//! group of fields, and `name ?{...}` one that may be missing. Tagged fields are all optional and
//! none is needed here, so they are not listed.
use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

/// One of Kafka's APIs; its place in [`APIS`] is its key.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: &'static str,
    /// The newest version whose fields stand here; less than none if none does.
    newest: i16,
    /// The first version with compact lengths and tagged fields.
    flexible: i16,
    request: &'static str,
    response: &'static str,
}

/// What to read next, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) what: What,
    /// The field's name as it stands in JSON behind another field; only a comma for the elements of
    /// a plain array.
    pub(super) label: Cow<'static, str>,
    /// Of an array or group: the step behind it.
    pub(super) end: usize,
}

/// How a value is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    Text,
    CompactText,
    Bytes,
    CompactBytes,
    Records,
    CompactRecords,
    /// An array of what has no name.
    Plain,
    CompactPlain,
    /// An array of what has names.
    Array,
    CompactArray,
    /// The end of an array's element.
    Next,
    Group,
    OptionalGroup,
    GroupEnd,
    /// Tagged fields.
    Tags,
}

/// What a value means to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Plain,
    Client,
    Acks,
    Auth,
    Config,
    ConfigValue,
    Error,
    ErrorMessage,
    Generation,
    Group,
    Host,
    Key,
    KeyType,
    Mechanism,
    Member,
    Offset,
    Partition,
    Port,
    Producer,
    Secret,
    Software,
    SoftwareVersion,
    Throttle,
    Topic,
    TopicId,
    Transaction,
}

/// The API with this key.
pub(super) fn api(key: i16) -> Option<&'static Api> {
    APIS.get(usize::try_from(key).ok()?)
}

impl Api {
    /// Whether the fields of this version are known.
    pub(super) fn knows(&self, version: i16) -> bool {
        (0..=self.newest).contains(&version)
    }
}

/// The steps through a request or response behind its correlation id; without the fields of its
/// body if they are not known.
pub(super) fn steps(key: i16, version: i16, is_request: bool) -> &'static [Step] {
    let known = api(key).filter(|it| it.knows(version));
    let (Some(api), Ok(place), Ok(column)) =
        (known, usize::try_from(key), usize::try_from(version))
    else {
        return if is_request { HEADER } else { &[] };
    };
    let place = (place * 2 + usize::from(is_request)) * VERSIONS + column;
    let Some(slot) = STEPS.get(place) else { return &[] };
    slot.get_or_init(|| {
        let is_flexible = version >= api.flexible;
        let mut to = Compiler { rest: "", version, is_flexible, steps: Vec::new() };
        if is_request {
            // A broker that shuts down said no more than what it wants, at first.
            if (key, version) != (CONTROLLED_SHUTDOWN, 0) {
                to.steps.extend_from_slice(HEADER);
            }
            to.rest = api.request;
        } else {
            to.rest = api.response;
        }
        // The client must be able to read this answer before it knows what the server speaks.
        if is_flexible && (is_request || key != API_VERSIONS) {
            to.push(Kind::Tags);
        }
        to.fields(true, 0);
        if is_flexible {
            to.push(Kind::Tags);
        }
        to.steps.into_boxed_slice()
    })
}

/// The name of an error code: <https://kafka.apache.org/protocol#protocol_error_codes>.
pub(super) fn error_name(code: i16) -> Option<&'static str> {
    ERRORS.get(usize::try_from(code.checked_add(1)?).ok()?).copied()
}

/// Makes steps of the words in [`APIS`].
struct Compiler {
    rest: &'static str,
    version: i16,
    is_flexible: bool,
    steps: Vec<Step>,
}

impl Compiler {
    fn push(&mut self, kind: Kind) -> usize {
        self.named(kind, What::Plain, "")
    }

    fn named(&mut self, kind: Kind, what: What, name: &'static str) -> usize {
        let label = match name {
            "" => ",".into(),
            name => format!(",\"{name}\":").into(),
        };
        self.steps.push(Step { kind, what, label, end: 0 });
        self.steps.len() - 1
    }

    /// Sets where the array or group that began at `place` ends: here.
    fn end(&mut self, place: usize) {
        let end = self.steps.len();
        if let Some(step) = self.steps.get_mut(place) {
            step.end = end;
        }
    }

    /// Up to the bracket that closes, or the end.
    fn fields(&mut self, wanted: bool, depth: usize) {
        if depth >= DEPTH {
            return;
        }
        loop {
            let name = self.word();
            if name.is_empty() {
                break;
            }
            self.field(name, wanted, depth);
            if !self.eat(',') {
                break;
            }
        }
    }

    fn field(&mut self, name: &'static str, wanted: bool, depth: usize) {
        let mut wanted = wanted;
        let (mut kind, mut is_array, mut what) = (None, false, What::Plain);
        loop {
            if self.eat('[') {
                let kind = if self.is_flexible { Kind::CompactArray } else { Kind::Array };
                let place = wanted.then(|| self.named(kind, what, name));
                self.fields(wanted, depth + 1);
                self.eat(']');
                if let Some(place) = place {
                    if self.is_flexible {
                        self.push(Kind::Tags);
                    }
                    self.push(Kind::Next);
                    self.end(place);
                }
                return;
            }
            let is_optional = self.eat('?');
            if self.eat('{') {
                let kind = if is_optional { Kind::OptionalGroup } else { Kind::Group };
                let place = wanted.then(|| self.named(kind, what, name));
                self.fields(wanted, depth + 1);
                self.eat('}');
                if let Some(place) = place {
                    if self.is_flexible {
                        self.push(Kind::Tags);
                    }
                    self.push(Kind::GroupEnd);
                    self.end(place);
                }
                return;
            }
            if self.eat('=') {
                what = meaning(self.word());
                continue;
            }
            let word = self.word();
            if word.is_empty() {
                break;
            }
            if word.starts_with(|it: char| it.is_ascii_digit()) {
                wanted &= within(word, self.version);
            } else {
                kind = self.kind(word);
                is_array = self.eat('*');
            }
        }
        let Some(kind) = kind.filter(|_| wanted) else { return };
        if is_array {
            let array = if self.is_flexible { Kind::CompactPlain } else { Kind::Plain };
            let place = self.named(array, What::Plain, name);
            self.named(kind, what, "");
            self.push(Kind::Next);
            self.end(place);
        } else {
            self.named(kind, what, name);
        }
    }

    fn kind(&self, word: &str) -> Option<Kind> {
        Some(match word {
            "flag" => Kind::Flag,
            "i8" => Kind::I8,
            "i16" => Kind::I16,
            "u16" => Kind::U16,
            "i32" => Kind::I32,
            "u32" => Kind::U32,
            "i64" => Kind::I64,
            "f64" => Kind::F64,
            "uuid" => Kind::Uuid,
            "text" if self.is_flexible => Kind::CompactText,
            "text" => Kind::Text,
            "bytes" if self.is_flexible => Kind::CompactBytes,
            "bytes" => Kind::Bytes,
            "records" if self.is_flexible => Kind::CompactRecords,
            "records" => Kind::Records,
            _ => return None,
        })
    }

    /// The next word; empty before anything else.
    fn word(&mut self) -> &'static str {
        let rest = self.rest.trim_start();
        let is_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '+' | '-');
        let end = rest.find(|it| !is_word(it)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Whether `sign` is next; then it is used.
    fn eat(&mut self, sign: char) -> bool {
        let found = self.rest.trim_start().strip_prefix(sign);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }
}

/// `3`, `3+` or `3-5`.
fn within(versions: &str, version: i16) -> bool {
    let (first, last) = match versions.split_once('-') {
        Some((first, last)) => (first, last),
        None => match versions.strip_suffix('+') {
            Some(first) => (first, "32767"),
            None => (versions, versions),
        },
    };
    first.parse().is_ok_and(|it: i16| it <= version)
        && last.parse().is_ok_and(|it: i16| version <= it)
}

fn meaning(word: &str) -> What {
    match word {
        "acks" => What::Acks,
        "auth" => What::Auth,
        "config" => What::Config,
        "config_value" => What::ConfigValue,
        "error" => What::Error,
        "error_message" => What::ErrorMessage,
        "generation" => What::Generation,
        "group" => What::Group,
        "host" => What::Host,
        "key" => What::Key,
        "key_type" => What::KeyType,
        "mechanism" => What::Mechanism,
        "member" => What::Member,
        "offset" => What::Offset,
        "partition" => What::Partition,
        "port" => What::Port,
        "producer" => What::Producer,
        "secret" => What::Secret,
        "software" => What::Software,
        "software_version" => What::SoftwareVersion,
        "throttle" => What::Throttle,
        "topic" => What::Topic,
        "topic_id" => What::TopicId,
        "transaction" => What::Transaction,
        _ => What::Plain,
    }
}

/// Made when first needed: a connection uses a handful of the thousand.
static STEPS: LazyLock<Vec<OnceLock<Box<[Step]>>>> =
    LazyLock::new(|| (0..APIS.len() * 2 * VERSIONS).map(|_| OnceLock::new()).collect());

/// What a request says of the client; its length is never compact.
const HEADER: &[Step] =
    &[Step { kind: Kind::Text, what: What::Client, label: Cow::Borrowed(","), end: 0 }];

/// Versions of one API: more than any has.
const VERSIONS: usize = 24;

/// Arrays and groups within each other: more than any message has.
pub(super) const DEPTH: usize = 8;

/// The version from which on an API that was never made flexible would be.
const NEVER: i16 = i16::MAX;

pub(super) const PRODUCE: i16 = 0;
pub(super) const FETCH: i16 = 1;
pub(super) const CONTROLLED_SHUTDOWN: i16 = 7;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;

/// Every API, by its key.
const APIS: &[Api] = &[
    Api {
        name: "Produce",
        newest: 13,
        flexible: 9,
        request: "transactional_id text 3+ =transaction, acks i16 =acks, timeout_ms i32, topic_data \
             [name text 0-12 =topic, topic_id uuid 13+ =topic_id, partition_data [index i32 \
             =partition, records records]]",
        response: "responses [name text 0-12 =topic, topic_id uuid 13+ =topic_id, partition_responses \
             [index i32 =partition, error_code i16 =error, base_offset i64 =offset, \
             log_append_time_ms i64 2+, log_start_offset i64 5+, record_errors 8+ [batch_index \
             i32, batch_index_error_message text], error_message text 8+ =error_message]], \
             throttle_time_ms i32 1+ =throttle",
    },
    Api {
        name: "Fetch",
        newest: 18,
        flexible: 12,
        request: "replica_id i32 0-14, max_wait_ms i32, min_bytes i32, max_bytes i32 3+, \
             isolation_level i8 4+, session_id i32 7+, session_epoch i32 7+, topics [topic text \
             0-12 =topic, topic_id uuid 13+ =topic_id, partitions [partition i32 =partition, \
             current_leader_epoch i32 9+, fetch_offset i64 =offset, last_fetched_epoch i32 12+, \
             log_start_offset i64 5+, partition_max_bytes i32]], forgotten_topics_data 7+ [topic \
             text 7-12, topic_id uuid 13+, partitions i32*], rack_id text 11+",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 7+ =error, session_id i32 7+, \
             responses [topic text 0-12 =topic, topic_id uuid 13+ =topic_id, partitions \
             [partition_index i32 =partition, error_code i16 =error, high_watermark i64, \
             last_stable_offset i64 4+, log_start_offset i64 5+, aborted_transactions 4+ \
             [producer_id i64, first_offset i64], preferred_read_replica i32 11+, records \
             records]]",
    },
    Api {
        name: "ListOffsets",
        newest: 11,
        flexible: 6,
        request: "replica_id i32, isolation_level i8 2+, topics [name text =topic, partitions \
             [partition_index i32 =partition, current_leader_epoch i32 4+, timestamp i64, \
             max_num_offsets i32 0]], timeout_ms i32 10+",
        response: "throttle_time_ms i32 2+ =throttle, topics [name text =topic, partitions \
             [partition_index i32 =partition, error_code i16 =error, old_style_offsets i64* 0 \
             =offset, timestamp i64 1+, offset i64 1+ =offset, leader_epoch i32 4+]]",
    },
    Api {
        name: "Metadata",
        newest: 13,
        flexible: 9,
        request: "topics [topic_id uuid 10+ =topic_id, name text =topic], allow_auto_topic_creation \
             flag 4+, include_cluster_authorized_operations flag 8-10, \
             include_topic_authorized_operations flag 8+",
        response: "throttle_time_ms i32 3+ =throttle, brokers [node_id i32, host text =host, port i32 \
             =port, rack text 1+], cluster_id text 2+, controller_id i32 1+, topics [error_code \
             i16 =error, name text =topic, topic_id uuid 10+ =topic_id, is_internal flag 1+, \
             partitions [error_code i16 =error, partition_index i32 =partition, leader_id i32, \
             leader_epoch i32 7+, replica_nodes i32*, isr_nodes i32*, offline_replicas i32* 5+], \
             topic_authorized_operations i32 8+], cluster_authorized_operations i32 8-10, \
             error_code i16 13+ =error",
    },
    Api {
        name: "LeaderAndIsr",
        newest: 7,
        flexible: 4,
        request: "controller_id i32, is_kraft_controller flag 7+, controller_epoch i32, broker_epoch \
             i64 2+, type i8 5+, ungrouped_partition_states 0-1 [topic_name text =topic, \
             partition_index i32 =partition, controller_epoch i32, leader i32, leader_epoch i32, \
             isr i32*, partition_epoch i32, replicas i32*, is_new flag 1+], topic_states 2+ \
             [topic_name text =topic, topic_id uuid 5+ =topic_id, partition_states \
             [partition_index i32 =partition, controller_epoch i32, leader i32, leader_epoch i32, \
             isr i32*, partition_epoch i32, replicas i32*, adding_replicas i32* 3+, \
             removing_replicas i32* 3+, is_new flag, leader_recovery_state i8 6+]], live_leaders \
             [broker_id i32, host_name text, port i32]",
        response: "error_code i16 =error, partition_errors 0-4 [topic_name text =topic, partition_index \
             i32 =partition, error_code i16 =error], topics 5+ [topic_id uuid =topic_id, \
             partition_errors [partition_index i32 =partition, error_code i16 =error]]",
    },
    Api {
        name: "StopReplica",
        newest: 4,
        flexible: 2,
        request: "controller_id i32, is_kraft_controller flag 4+, controller_epoch i32, broker_epoch \
             i64 1+, delete_partitions flag 0-2, ungrouped_partitions 0 [topic_name text =topic, \
             partition_index i32 =partition], topics 1-2 [name text =topic, partition_indexes \
             i32* =partition], topic_states 3+ [topic_name text =topic, partition_states \
             [partition_index i32 =partition, leader_epoch i32, delete_partition flag]]",
        response: "error_code i16 =error, partition_errors [topic_name text =topic, partition_index i32 \
             =partition, error_code i16 =error]",
    },
    Api {
        name: "UpdateMetadata",
        newest: 8,
        flexible: 6,
        request: "controller_id i32, is_kraft_controller flag 8+, controller_epoch i32, broker_epoch \
             i64 5+, ungrouped_partition_states 0-4 [topic_name text =topic, partition_index i32 \
             =partition, controller_epoch i32, leader i32, leader_epoch i32, isr i32*, zk_version \
             i32, replicas i32*, offline_replicas i32* 4+], topic_states 5+ [topic_name text \
             =topic, topic_id uuid 7+ =topic_id, partition_states [partition_index i32 \
             =partition, controller_epoch i32, leader i32, leader_epoch i32, isr i32*, zk_version \
             i32, replicas i32*, offline_replicas i32*]], live_brokers [id i32, v0_host text 0, \
             v0_port i32 0, endpoints 1+ [port i32, host text, listener text 3+, \
             security_protocol i16], rack text 2+]",
        response: "error_code i16 =error",
    },
    Api {
        name: "ControlledShutdown",
        newest: 3,
        flexible: 3,
        request: "broker_id i32, broker_epoch i64 2+",
        response: "error_code i16 =error, remaining_partitions [topic_name text =topic, partition_index \
             i32 =partition]",
    },
    Api {
        name: "OffsetCommit",
        newest: 10,
        flexible: 8,
        request: "group_id text =group, generation_id_or_member_epoch i32 1+ =generation, member_id \
             text 1+ =member, group_instance_id text 7+, retention_time_ms i64 2-4, topics [name \
             text 0-9 =topic, topic_id uuid 10+ =topic_id, partitions [partition_index i32 \
             =partition, committed_offset i64 =offset, committed_leader_epoch i32 6+, \
             commit_timestamp i64 1, committed_metadata text]]",
        response: "throttle_time_ms i32 3+ =throttle, topics [name text 0-9 =topic, topic_id uuid 10+ \
             =topic_id, partitions [partition_index i32 =partition, error_code i16 =error]]",
    },
    Api {
        name: "OffsetFetch",
        newest: 10,
        flexible: 6,
        request: "group_id text 0-7 =group, topics 0-7 [name text =topic, partition_indexes i32* \
             =partition], groups 8+ [group_id text =group, member_id text 9+ =member, \
             member_epoch i32 9+, topics [name text 0-9 =topic, topic_id uuid 10+ =topic_id, \
             partition_indexes i32* =partition]], require_stable flag 7+",
        response: "throttle_time_ms i32 3+ =throttle, topics 0-7 [name text =topic, partitions \
             [partition_index i32 =partition, committed_offset i64 =offset, \
             committed_leader_epoch i32 5+, metadata text, error_code i16 =error]], error_code \
             i16 2-7 =error, groups 8+ [group_id text =group, topics [name text 0-9 =topic, \
             topic_id uuid 10+ =topic_id, partitions [partition_index i32 =partition, \
             committed_offset i64 =offset, committed_leader_epoch i32, metadata text, error_code \
             i16 =error]], error_code i16 =error]",
    },
    Api {
        name: "FindCoordinator",
        newest: 6,
        flexible: 3,
        request: "key text 0-3 =key, key_type i8 1+ =key_type, coordinator_keys text* 4+ =key",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 0-3 =error, error_message text 1-3 \
             =error_message, node_id i32 0-3, host text 0-3 =host, port i32 0-3 =port, \
             coordinators 4+ [key text, node_id i32, host text =host, port i32 =port, error_code \
             i16 =error, error_message text =error_message]",
    },
    Api {
        name: "JoinGroup",
        newest: 9,
        flexible: 6,
        request: "group_id text =group, session_timeout_ms i32, rebalance_timeout_ms i32 1+, member_id \
             text =member, group_instance_id text 5+, protocol_type text, protocols [name text, \
             metadata bytes], reason text 8+",
        response: "throttle_time_ms i32 2+ =throttle, error_code i16 =error, generation_id i32 \
             =generation, protocol_type text 7+, protocol_name text, leader text, skip_assignment \
             flag 9+, member_id text =member, members [member_id text, group_instance_id text 5+, \
             metadata bytes]",
    },
    Api {
        name: "Heartbeat",
        newest: 4,
        flexible: 4,
        request: "group_id text =group, generation_id i32 =generation, member_id text =member, \
             group_instance_id text 3+",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 =error",
    },
    Api {
        name: "LeaveGroup",
        newest: 5,
        flexible: 4,
        request: "group_id text =group, member_id text 0-2 =member, members 3+ [member_id text \
             =member, group_instance_id text, reason text 5+]",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 =error, members 3+ [member_id \
             text, group_instance_id text, error_code i16 =error]",
    },
    Api {
        name: "SyncGroup",
        newest: 5,
        flexible: 4,
        request: "group_id text =group, generation_id i32 =generation, member_id text =member, \
             group_instance_id text 3+, protocol_type text 5+, protocol_name text 5+, assignments \
             [member_id text =member, assignment bytes]",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 =error, protocol_type text 5+, \
             protocol_name text 5+, assignment bytes",
    },
    Api {
        name: "DescribeGroups",
        newest: 6,
        flexible: 5,
        request: "groups text* =group, include_authorized_operations flag 3+",
        response: "throttle_time_ms i32 1+ =throttle, groups [error_code i16 =error, error_message text \
             6+ =error_message, group_id text =group, group_state text, protocol_type text, \
             protocol_data text, members [member_id text, group_instance_id text 4+, client_id \
             text, client_host text, member_metadata bytes, member_assignment bytes], \
             authorized_operations i32 3+]",
    },
    Api {
        name: "ListGroups",
        newest: 5,
        flexible: 3,
        request: "states_filter text* 4+, types_filter text* 5+",
        response: "throttle_time_ms i32 1+ =throttle, error_code i16 =error, groups [group_id text \
             =group, protocol_type text, group_state text 4+, group_type text 5+]",
    },
    Api {
        name: "SaslHandshake",
        newest: 1,
        flexible: NEVER,
        request: "mechanism text =mechanism",
        response: "error_code i16 =error, mechanisms text*",
    },
    Api {
        name: "ApiVersions",
        newest: 4,
        flexible: 3,
        request: "client_software_name text 3+ =software, client_software_version text 3+ \
             =software_version",
        response: "error_code i16 =error, api_keys [api_key i16, min_version i16, max_version i16], \
             throttle_time_ms i32 1+ =throttle",
    },
    Api {
        name: "CreateTopics",
        newest: 7,
        flexible: 5,
        request: "topics [name text =topic, num_partitions i32, replication_factor i16, assignments \
             [partition_index i32 =partition, broker_ids i32*], configs [name text =config, value \
             text =config_value]], timeout_ms i32, validate_only flag 1+",
        response: "throttle_time_ms i32 2+ =throttle, topics [name text =topic, topic_id uuid 7+ \
             =topic_id, error_code i16 =error, error_message text 1+ =error_message, \
             num_partitions i32 5+, replication_factor i16 5+, configs 5+ [name text =config, \
             value text =config_value, read_only flag, config_source i8, is_sensitive flag]]",
    },
    Api {
        name: "DeleteTopics",
        newest: 6,
        flexible: 4,
        request: "topics 6+ [name text =topic, topic_id uuid =topic_id], topic_names text* 0-5 =topic, \
             timeout_ms i32",
        response: "throttle_time_ms i32 1+ =throttle, responses [name text =topic, topic_id uuid 6+ \
             =topic_id, error_code i16 =error, error_message text 5+ =error_message]",
    },
    Api {
        name: "DeleteRecords",
        newest: 2,
        flexible: 2,
        request: "topics [name text =topic, partitions [partition_index i32 =partition, offset i64 \
             =offset]], timeout_ms i32",
        response: "throttle_time_ms i32 =throttle, topics [name text =topic, partitions \
             [partition_index i32 =partition, low_watermark i64 =offset, error_code i16 =error]]",
    },
    Api {
        name: "InitProducerId",
        newest: 6,
        flexible: 2,
        request: "transactional_id text =transaction, transaction_timeout_ms i32, producer_id i64 3+ \
             =producer, producer_epoch i16 3+, enable_2pc flag 6+, keep_prepared_txn flag 6+",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, producer_id i64 =producer, \
             producer_epoch i16, ongoing_txn_producer_id i64 6+, ongoing_txn_producer_epoch i16 \
             6+",
    },
    Api {
        name: "OffsetForLeaderEpoch",
        newest: 4,
        flexible: 4,
        request: "replica_id i32 3+, topics [topic text =topic, partitions [partition i32 =partition, \
             current_leader_epoch i32 2+, leader_epoch i32]]",
        response: "throttle_time_ms i32 2+ =throttle, topics [topic text =topic, partitions [error_code \
             i16 =error, partition i32 =partition, leader_epoch i32 1+, end_offset i64 =offset]]",
    },
    Api {
        name: "AddPartitionsToTxn",
        newest: 5,
        flexible: 3,
        request: "transactions 4+ [transactional_id text =transaction, producer_id i64, producer_epoch \
             i16, verify_only flag, topics [name text =topic, partitions i32* =partition]], \
             v3_and_below_transactional_id text 0-3 =transaction, v3_and_below_producer_id i64 \
             0-3 =producer, v3_and_below_producer_epoch i16 0-3, v3_and_below_topics 0-3 [name \
             text =topic, partitions i32* =partition]",
        response: "throttle_time_ms i32 =throttle, error_code i16 4+ =error, results_by_transaction 4+ \
             [transactional_id text =transaction, topic_results [name text =topic, \
             results_by_partition [partition_index i32 =partition, partition_error_code i16 \
             =error]]], results_by_topic_v3_and_below 0-3 [name text =topic, results_by_partition \
             [partition_index i32 =partition, partition_error_code i16 =error]]",
    },
    Api {
        name: "AddOffsetsToTxn",
        newest: 4,
        flexible: 3,
        request: "transactional_id text =transaction, producer_id i64 =producer, producer_epoch i16, \
             group_id text =group",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error",
    },
    Api {
        name: "EndTxn",
        newest: 5,
        flexible: 3,
        request: "transactional_id text =transaction, producer_id i64 =producer, producer_epoch i16, \
             committed flag",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, producer_id i64 5+ =producer, \
             producer_epoch i16 5+",
    },
    Api {
        name: "WriteTxnMarkers",
        newest: 1,
        flexible: 1,
        request: "markers [producer_id i64, producer_epoch i16, transaction_result flag, topics [name \
             text =topic, partition_indexes i32* =partition], coordinator_epoch i32]",
        response: "markers [producer_id i64, topics [name text =topic, partitions [partition_index i32 \
             =partition, error_code i16 =error]]]",
    },
    Api {
        name: "TxnOffsetCommit",
        newest: 4,
        flexible: 3,
        request: "transactional_id text =transaction, group_id text =group, producer_id i64 =producer, \
             producer_epoch i16, generation_id i32 3+ =generation, member_id text 3+ =member, \
             group_instance_id text 3+, topics [name text =topic, partitions [partition_index i32 \
             =partition, committed_offset i64 =offset, committed_leader_epoch i32 2+, \
             committed_metadata text]]",
        response: "throttle_time_ms i32 =throttle, topics [name text =topic, partitions \
             [partition_index i32 =partition, error_code i16 =error]]",
    },
    Api {
        name: "DescribeAcls",
        newest: 3,
        flexible: 2,
        request: "resource_type_filter i8, resource_name_filter text, pattern_type_filter i8 1+, \
             principal_filter text, host_filter text, operation i8, permission_type i8",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, resources [resource_type i8, resource_name text, pattern_type i8 1+, \
             acls [principal text, host text, operation i8, permission_type i8]]",
    },
    Api {
        name: "CreateAcls",
        newest: 3,
        flexible: 2,
        request: "creations [resource_type i8, resource_name text, resource_pattern_type i8 1+, \
             principal text, host text, operation i8, permission_type i8]",
        response: "throttle_time_ms i32 =throttle, results [error_code i16 =error, error_message text \
             =error_message]",
    },
    Api {
        name: "DeleteAcls",
        newest: 3,
        flexible: 2,
        request: "filters [resource_type_filter i8, resource_name_filter text, pattern_type_filter i8 \
             1+, principal_filter text, host_filter text, operation i8, permission_type i8]",
        response: "throttle_time_ms i32 =throttle, filter_results [error_code i16 =error, error_message \
             text =error_message, matching_acls [error_code i16 =error, error_message text \
             =error_message, resource_type i8, resource_name text, pattern_type i8 1+, principal \
             text, host text, operation i8, permission_type i8]]",
    },
    Api {
        name: "DescribeConfigs",
        newest: 4,
        flexible: 4,
        request: "resources [resource_type i8, resource_name text, configuration_keys text*], \
             include_synonyms flag 1+, include_documentation flag 3+",
        response: "throttle_time_ms i32 =throttle, results [error_code i16 =error, error_message text \
             =error_message, resource_type i8, resource_name text, configs [name text =config, \
             value text =config_value, read_only flag, is_default flag 0, config_source i8 1+, \
             is_sensitive flag, synonyms 1+ [name text, value text =config_value, source i8], \
             config_type i8 3+, documentation text 3+]]",
    },
    Api {
        name: "AlterConfigs",
        newest: 2,
        flexible: 2,
        request: "resources [resource_type i8, resource_name text, configs [name text =config, value \
             text =config_value]], validate_only flag",
        response: "throttle_time_ms i32 =throttle, responses [error_code i16 =error, error_message text \
             =error_message, resource_type i8, resource_name text]",
    },
    Api {
        name: "AlterReplicaLogDirs",
        newest: 2,
        flexible: 2,
        request: "dirs [path text, topics [name text =topic, partitions i32* =partition]]",
        response: "throttle_time_ms i32 =throttle, results [topic_name text =topic, partitions \
             [partition_index i32 =partition, error_code i16 =error]]",
    },
    Api {
        name: "DescribeLogDirs",
        newest: 4,
        flexible: 2,
        request: "topics [topic text =topic, partitions i32* =partition]",
        response: "throttle_time_ms i32 =throttle, error_code i16 3+ =error, results [error_code i16 \
             =error, log_dir text, topics [name text =topic, partitions [partition_index i32 \
             =partition, partition_size i64, offset_lag i64, is_future_key flag]], total_bytes \
             i64 4+, usable_bytes i64 4+]",
    },
    Api {
        name: "SaslAuthenticate",
        newest: 2,
        flexible: 2,
        request: "auth_bytes bytes =auth",
        response: "error_code i16 =error, error_message text =error_message, auth_bytes bytes =auth, \
             session_lifetime_ms i64 1+",
    },
    Api {
        name: "CreatePartitions",
        newest: 3,
        flexible: 2,
        request: "topics [name text =topic, count i32, assignments [broker_ids i32*]], timeout_ms i32, \
             validate_only flag",
        response: "throttle_time_ms i32 =throttle, results [name text =topic, error_code i16 =error, \
             error_message text =error_message]",
    },
    Api {
        name: "CreateDelegationToken",
        newest: 3,
        flexible: 2,
        request: "owner_principal_type text 3+, owner_principal_name text 3+, renewers [principal_type \
             text, principal_name text], max_lifetime_ms i64",
        response: "error_code i16 =error, principal_type text, principal_name text, \
             token_requester_principal_type text 3+, token_requester_principal_name text 3+, \
             issue_timestamp_ms i64, expiry_timestamp_ms i64, max_timestamp_ms i64, token_id \
             text, hmac bytes =secret, throttle_time_ms i32 =throttle",
    },
    Api {
        name: "RenewDelegationToken",
        newest: 2,
        flexible: 2,
        request: "hmac bytes =secret, renew_period_ms i64",
        response: "error_code i16 =error, expiry_timestamp_ms i64, throttle_time_ms i32 =throttle",
    },
    Api {
        name: "ExpireDelegationToken",
        newest: 2,
        flexible: 2,
        request: "hmac bytes =secret, expiry_time_period_ms i64",
        response: "error_code i16 =error, expiry_timestamp_ms i64, throttle_time_ms i32 =throttle",
    },
    Api {
        name: "DescribeDelegationToken",
        newest: 3,
        flexible: 2,
        request: "owners [principal_type text, principal_name text]",
        response: "error_code i16 =error, tokens [principal_type text, principal_name text, \
             token_requester_principal_type text 3+, token_requester_principal_name text 3+, \
             issue_timestamp i64, expiry_timestamp i64, max_timestamp i64, token_id text, hmac \
             bytes =secret, renewers [principal_type text, principal_name text]], \
             throttle_time_ms i32 =throttle",
    },
    Api {
        name: "DeleteGroups",
        newest: 2,
        flexible: 2,
        request: "groups_names text* =group",
        response: "throttle_time_ms i32 =throttle, results [group_id text =group, error_code i16 \
             =error]",
    },
    Api {
        name: "ElectLeaders",
        newest: 2,
        flexible: 2,
        request: "election_type i8 1+, topic_partitions [topic text =topic, partitions i32* \
             =partition], timeout_ms i32",
        response: "throttle_time_ms i32 =throttle, error_code i16 1+ =error, replica_election_results \
             [topic text =topic, partition_result [partition_id i32 =partition, error_code i16 \
             =error, error_message text =error_message]]",
    },
    Api {
        name: "IncrementalAlterConfigs",
        newest: 1,
        flexible: 1,
        request: "resources [resource_type i8, resource_name text, configs [name text =config, \
             config_operation i8, value text =config_value]], validate_only flag",
        response: "throttle_time_ms i32 =throttle, responses [error_code i16 =error, error_message text \
             =error_message, resource_type i8, resource_name text]",
    },
    Api {
        name: "AlterPartitionReassignments",
        newest: 0,
        flexible: 0,
        request: "timeout_ms i32, topics [name text =topic, partitions [partition_index i32 \
             =partition, replicas i32*]]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, responses [name text =topic, partitions [partition_index i32 \
             =partition, error_code i16 =error, error_message text =error_message]]",
    },
    Api {
        name: "ListPartitionReassignments",
        newest: 0,
        flexible: 0,
        request: "timeout_ms i32, topics [name text =topic, partition_indexes i32* =partition]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, topics [name text =topic, partitions [partition_index i32 \
             =partition, replicas i32*, adding_replicas i32*, removing_replicas i32*]]",
    },
    Api {
        name: "OffsetDelete",
        newest: 0,
        flexible: NEVER,
        request: "group_id text =group, topics [name text =topic, partitions [partition_index i32 \
             =partition]]",
        response: "error_code i16 =error, throttle_time_ms i32 =throttle, topics [name text =topic, \
             partitions [partition_index i32 =partition, error_code i16 =error]]",
    },
    Api {
        name: "DescribeClientQuotas",
        newest: 1,
        flexible: 1,
        request: "components [entity_type text, match_type i8, match text], strict flag",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, entries [entity [entity_type text, entity_name text], values [key \
             text, value f64]]",
    },
    Api {
        name: "AlterClientQuotas",
        newest: 1,
        flexible: 1,
        request: "entries [entity [entity_type text, entity_name text], ops [key text, value f64, \
             remove flag]], validate_only flag",
        response: "throttle_time_ms i32 =throttle, entries [error_code i16 =error, error_message text \
             =error_message, entity [entity_type text, entity_name text]]",
    },
    Api {
        name: "DescribeUserScramCredentials",
        newest: 0,
        flexible: 0,
        request: "users [name text]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, results [user text, error_code i16 =error, error_message text \
             =error_message, credential_infos [mechanism i8, iterations i32]]",
    },
    Api {
        name: "AlterUserScramCredentials",
        newest: 0,
        flexible: 0,
        request: "deletions [name text, mechanism i8], upsertions [name text, mechanism i8, iterations \
             i32, salt bytes =secret, salted_password bytes =secret]",
        response: "throttle_time_ms i32 =throttle, results [user text, error_code i16 =error, \
             error_message text =error_message]",
    },
    Api {
        name: "Vote",
        newest: 1,
        flexible: 0,
        request: "cluster_id text, voter_id i32 1+, topics [topic_name text =topic, partitions \
             [partition_index i32 =partition, candidate_epoch i32, candidate_id i32, \
             candidate_directory_id uuid 1+, voter_directory_id uuid 1+, last_offset_epoch i32, \
             last_offset i64]]",
        response: "error_code i16 =error, topics [topic_name text =topic, partitions [partition_index \
             i32 =partition, error_code i16 =error, leader_id i32, leader_epoch i32, vote_granted \
             flag]]",
    },
    Api {
        name: "BeginQuorumEpoch",
        newest: 1,
        flexible: 1,
        request: "cluster_id text, voter_id i32 1+, topics [topic_name text =topic, partitions \
             [partition_index i32 =partition, voter_directory_id uuid 1+, leader_id i32, \
             leader_epoch i32]], leader_endpoints 1+ [name text, host text, port u16]",
        response: "error_code i16 =error, topics [topic_name text =topic, partitions [partition_index \
             i32 =partition, error_code i16 =error, leader_id i32, leader_epoch i32]]",
    },
    Api {
        name: "EndQuorumEpoch",
        newest: 1,
        flexible: 1,
        request: "cluster_id text, topics [topic_name text =topic, partitions [partition_index i32 \
             =partition, leader_id i32, leader_epoch i32, preferred_successors i32* 0, \
             preferred_candidates 1+ [candidate_id i32, candidate_directory_id uuid]]], \
             leader_endpoints 1+ [name text, host text, port u16]",
        response: "error_code i16 =error, topics [topic_name text =topic, partitions [partition_index \
             i32 =partition, error_code i16 =error, leader_id i32, leader_epoch i32]]",
    },
    Api {
        name: "DescribeQuorum",
        newest: 2,
        flexible: 0,
        request: "topics [topic_name text =topic, partitions [partition_index i32 =partition]]",
        response: "error_code i16 =error, error_message text 2+ =error_message, topics [topic_name text \
             =topic, partitions [partition_index i32 =partition, error_code i16 =error, \
             error_message text 2+ =error_message, leader_id i32, leader_epoch i32, \
             high_watermark i64, current_voters [replica_id i32, replica_directory_id uuid 2+, \
             log_end_offset i64, last_fetch_timestamp i64 1+, last_caught_up_timestamp i64 1+], \
             observers [replica_id i32, replica_directory_id uuid 2+, log_end_offset i64, \
             last_fetch_timestamp i64 1+, last_caught_up_timestamp i64 1+]]], nodes 2+ [node_id \
             i32, listeners [name text, host text, port u16]]",
    },
    Api {
        name: "AlterPartition",
        newest: 3,
        flexible: 0,
        request: "broker_id i32, broker_epoch i64, topics [topic_name text 0-1 =topic, topic_id uuid \
             2+ =topic_id, partitions [partition_index i32 =partition, leader_epoch i32, new_isr \
             i32* 0-2, new_isr_with_epochs 3+ [broker_id i32, broker_epoch i64], \
             leader_recovery_state i8 1+, partition_epoch i32]]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, topics [topic_name text 0-1 \
             =topic, topic_id uuid 2+ =topic_id, partitions [partition_index i32 =partition, \
             error_code i16 =error, leader_id i32, leader_epoch i32, isr i32*, \
             leader_recovery_state i8 1+, partition_epoch i32]]",
    },
    Api {
        name: "UpdateFeatures",
        newest: 2,
        flexible: 0,
        request: "timeout_ms i32, feature_updates [feature text, max_version_level i16, \
             allow_downgrade flag 0, upgrade_type i8 1+], validate_only flag 1+",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, results 0-1 [feature text, error_code i16 =error, error_message text \
             =error_message]",
    },
    Api {
        name: "Envelope",
        newest: 0,
        flexible: 0,
        request: "request_data bytes, request_principal bytes, client_host_address bytes",
        response: "response_data bytes, error_code i16 =error",
    },
    Api {
        name: "FetchSnapshot",
        newest: 1,
        flexible: 0,
        request: "replica_id i32, max_bytes i32, topics [name text =topic, partitions [partition i32 \
             =partition, current_leader_epoch i32, snapshot_id {end_offset i64, epoch i32}, \
             position i64]]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, topics [name text =topic, \
             partitions [index i32 =partition, error_code i16 =error, snapshot_id {end_offset \
             i64, epoch i32}, size i64, position i64, unaligned_records records]]",
    },
    Api {
        name: "DescribeCluster",
        newest: 2,
        flexible: 0,
        request: "include_cluster_authorized_operations flag, endpoint_type i8 1+, \
             include_fenced_brokers flag 2+",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, endpoint_type i8 1+, cluster_id text, controller_id i32, brokers \
             [broker_id i32, host text =host, port i32 =port, rack text, is_fenced flag 2+], \
             cluster_authorized_operations i32",
    },
    Api {
        name: "DescribeProducers",
        newest: 0,
        flexible: 0,
        request: "topics [name text =topic, partition_indexes i32* =partition]",
        response: "throttle_time_ms i32 =throttle, topics [name text =topic, partitions \
             [partition_index i32 =partition, error_code i16 =error, error_message text \
             =error_message, active_producers [producer_id i64, producer_epoch i32, last_sequence \
             i32, last_timestamp i64, coordinator_epoch i32, current_txn_start_offset i64]]]",
    },
    Api {
        name: "BrokerRegistration",
        newest: 4,
        flexible: 0,
        request: "broker_id i32, cluster_id text, incarnation_id uuid, listeners [name text, host \
             text, port u16, security_protocol i16], features [name text, min_supported_version \
             i16, max_supported_version i16], rack text, is_migrating_zk_broker flag 1+, log_dirs \
             uuid* 2+, previous_broker_epoch i64 3+",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, broker_epoch i64",
    },
    Api {
        name: "BrokerHeartbeat",
        newest: 1,
        flexible: 0,
        request: "broker_id i32, broker_epoch i64, current_metadata_offset i64, want_fence flag, \
             want_shut_down flag",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, is_caught_up flag, is_fenced \
             flag, should_shut_down flag",
    },
    Api {
        name: "UnregisterBroker",
        newest: 0,
        flexible: 0,
        request: "broker_id i32",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message",
    },
    Api {
        name: "DescribeTransactions",
        newest: 0,
        flexible: 0,
        request: "transactional_ids text*",
        response: "throttle_time_ms i32 =throttle, transaction_states [error_code i16 =error, \
             transactional_id text =transaction, transaction_state text, transaction_timeout_ms \
             i32, transaction_start_time_ms i64, producer_id i64, producer_epoch i16, topics \
             [topic text =topic, partitions i32* =partition]]",
    },
    Api {
        name: "ListTransactions",
        newest: 1,
        flexible: 0,
        request: "state_filters text*, producer_id_filters i64*, duration_filter i64 1+",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, unknown_state_filters text*, \
             transaction_states [transactional_id text =transaction, producer_id i64, \
             transaction_state text]",
    },
    Api {
        name: "AllocateProducerIds",
        newest: 0,
        flexible: 0,
        request: "broker_id i32, broker_epoch i64",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, producer_id_start i64, \
             producer_id_len i32",
    },
    Api {
        name: "ConsumerGroupHeartbeat",
        newest: 1,
        flexible: 0,
        request: "group_id text =group, member_id text =member, member_epoch i32 =generation, \
             instance_id text, rack_id text, rebalance_timeout_ms i32, subscribed_topic_names \
             text* =topic, subscribed_topic_regex text 1+, server_assignor text, topic_partitions \
             [topic_id uuid =topic_id, partitions i32* =partition]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, member_id text =member, member_epoch i32 =generation, \
             heartbeat_interval_ms i32, assignment ?{topic_partitions [topic_id uuid =topic_id, \
             partitions i32* =partition]}",
    },
    Api {
        name: "ConsumerGroupDescribe",
        newest: 1,
        flexible: 0,
        request: "group_ids text* =group, include_authorized_operations flag",
        response: "throttle_time_ms i32 =throttle, groups [error_code i16 =error, error_message text \
             =error_message, group_id text =group, group_state text, group_epoch i32, \
             assignment_epoch i32, assignor_name text, members [member_id text, instance_id text, \
             rack_id text, member_epoch i32, client_id text, client_host text, \
             subscribed_topic_names text* =topic, subscribed_topic_regex text, assignment \
             {topic_partitions [topic_id uuid, topic_name text, partitions i32*]}, \
             target_assignment {topic_partitions [topic_id uuid, topic_name text, partitions \
             i32*]}, member_type i8 1+], authorized_operations i32]",
    },
    Api {
        name: "ControllerRegistration",
        newest: 0,
        flexible: 0,
        request: "controller_id i32, incarnation_id uuid, zk_migration_ready flag, listeners [name \
             text, host text, port u16, security_protocol i16], features [name text, \
             min_supported_version i16, max_supported_version i16]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message",
    },
    Api {
        name: "GetTelemetrySubscriptions",
        newest: 0,
        flexible: 0,
        request: "client_instance_id uuid",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, client_instance_id uuid, \
             subscription_id i32, accepted_compression_types i8*, push_interval_ms i32, \
             telemetry_max_bytes i32, delta_temporality flag, requested_metrics text*",
    },
    Api {
        name: "PushTelemetry",
        newest: 0,
        flexible: 0,
        request: "client_instance_id uuid, subscription_id i32, terminating flag, compression_type i8, \
             metrics bytes",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error",
    },
    Api {
        name: "AssignReplicasToDirs",
        newest: 0,
        flexible: 0,
        request: "broker_id i32, broker_epoch i64, directories [id uuid, topics [topic_id uuid \
             =topic_id, partitions [partition_index i32 =partition]]]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, directories [id uuid, topics \
             [topic_id uuid =topic_id, partitions [partition_index i32 =partition, error_code i16 \
             =error]]]",
    },
    Api {
        name: "ListClientMetricsResources",
        newest: 0,
        flexible: 0,
        request: "",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, client_metrics_resources \
             [name text]",
    },
    Api {
        name: "DescribeTopicPartitions",
        newest: 0,
        flexible: 0,
        request: "topics [name text =topic], response_partition_limit i32, cursor ?{topic_name text \
             =topic, partition_index i32 =partition}",
        response: "throttle_time_ms i32 =throttle, topics [error_code i16 =error, name text =topic, \
             topic_id uuid =topic_id, is_internal flag, partitions [error_code i16 =error, \
             partition_index i32 =partition, leader_id i32, leader_epoch i32, replica_nodes i32*, \
             isr_nodes i32*, eligible_leader_replicas i32*, last_known_elr i32*, offline_replicas \
             i32*], topic_authorized_operations i32], next_cursor ?{topic_name text =topic, \
             partition_index i32 =partition}",
    },
    Api {
        name: "ShareGroupHeartbeat",
        newest: 1,
        flexible: 0,
        request: "group_id text =group, member_id text =member, member_epoch i32 =generation, rack_id \
             text, subscribed_topic_names text*",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, member_id text =member, member_epoch i32 =generation, \
             heartbeat_interval_ms i32, assignment ?{topic_partitions [topic_id uuid =topic_id, \
             partitions i32* =partition]}",
    },
    Api {
        name: "ShareGroupDescribe",
        newest: 1,
        flexible: 0,
        request: "group_ids text* =group, include_authorized_operations flag",
        response: "throttle_time_ms i32 =throttle, groups [error_code i16 =error, error_message text \
             =error_message, group_id text =group, group_state text, group_epoch i32, \
             assignment_epoch i32, assignor_name text, members [member_id text, rack_id text, \
             member_epoch i32, client_id text, client_host text, subscribed_topic_names text* \
             =topic, assignment {topic_partitions [topic_id uuid, topic_name text, partitions \
             i32*]}], authorized_operations i32]",
    },
    Api {
        name: "ShareFetch",
        newest: 1,
        flexible: 0,
        request: "group_id text =group, member_id text =member, share_session_epoch i32, max_wait_ms \
             i32, min_bytes i32, max_bytes i32, max_records i32 1+, batch_size i32 1+, topics \
             [topic_id uuid =topic_id, partitions [partition_index i32 =partition, \
             partition_max_bytes i32 0, acknowledgement_batches [first_offset i64, last_offset \
             i64, acknowledge_types i8*]]], forgotten_topics_data [topic_id uuid, partitions \
             i32*]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, acquisition_lock_timeout_ms i32 1+, responses [topic_id uuid \
             =topic_id, partitions [partition_index i32 =partition, error_code i16 =error, \
             error_message text =error_message, acknowledge_error_code i16 =error, \
             acknowledge_error_message text, current_leader {leader_id i32, leader_epoch i32}, \
             records records, acquired_records [first_offset i64, last_offset i64, delivery_count \
             i16]]], node_endpoints [node_id i32, host text, port i32, rack text]",
    },
    Api {
        name: "ShareAcknowledge",
        newest: 1,
        flexible: 0,
        request: "group_id text =group, member_id text =member, share_session_epoch i32, topics \
             [topic_id uuid =topic_id, partitions [partition_index i32 =partition, \
             acknowledgement_batches [first_offset i64, last_offset i64, acknowledge_types i8*]]]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message, responses [topic_id uuid =topic_id, partitions [partition_index i32 \
             =partition, error_code i16 =error, error_message text =error_message, current_leader \
             {leader_id i32, leader_epoch i32}]], node_endpoints [node_id i32, host text, port \
             i32, rack text]",
    },
    Api {
        name: "AddRaftVoter",
        newest: 0,
        flexible: 0,
        request: "cluster_id text, timeout_ms i32, voter_id i32, voter_directory_id uuid, listeners \
             [name text, host text, port u16]",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message",
    },
    Api {
        name: "RemoveRaftVoter",
        newest: 0,
        flexible: 0,
        request: "cluster_id text, voter_id i32, voter_directory_id uuid",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error, error_message text \
             =error_message",
    },
    Api {
        name: "UpdateRaftVoter",
        newest: 0,
        flexible: 0,
        request: "cluster_id text, current_leader_epoch i32, voter_id i32, voter_directory_id uuid, \
             listeners [name text, host text, port u16], kraft_version_feature \
             {min_supported_version i16, max_supported_version i16}",
        response: "throttle_time_ms i32 =throttle, error_code i16 =error",
    },
    Api {
        name: "InitializeShareGroupState",
        newest: 0,
        flexible: 0,
        request: "group_id text =group, topics [topic_id uuid =topic_id, partitions [partition i32 \
             =partition, state_epoch i32, start_offset i64]]",
        response: "results [topic_id uuid =topic_id, partitions [partition i32 =partition, error_code \
             i16 =error, error_message text =error_message]]",
    },
    Api {
        name: "ReadShareGroupState",
        newest: 0,
        flexible: 0,
        request: "group_id text =group, topics [topic_id uuid =topic_id, partitions [partition i32 \
             =partition, leader_epoch i32]]",
        response: "results [topic_id uuid =topic_id, partitions [partition i32 =partition, error_code \
             i16 =error, error_message text =error_message, state_epoch i32, start_offset i64, \
             state_batches [first_offset i64, last_offset i64, delivery_state i8, delivery_count \
             i16]]]",
    },
    Api {
        name: "WriteShareGroupState",
        newest: 0,
        flexible: 0,
        request: "group_id text =group, topics [topic_id uuid =topic_id, partitions [partition i32 \
             =partition, state_epoch i32, leader_epoch i32, start_offset i64, state_batches \
             [first_offset i64, last_offset i64, delivery_state i8, delivery_count i16]]]",
        response: "results [topic_id uuid =topic_id, partitions [partition i32 =partition, error_code \
             i16 =error, error_message text =error_message]]",
    },
    Api {
        name: "DeleteShareGroupState",
        newest: 0,
        flexible: 0,
        request: "group_id text =group, topics [topic_id uuid =topic_id, partitions [partition i32 \
             =partition]]",
        response: "results [topic_id uuid =topic_id, partitions [partition i32 =partition, error_code \
             i16 =error, error_message text =error_message]]",
    },
    Api {
        name: "ReadShareGroupStateSummary",
        newest: 0,
        flexible: 0,
        request: "group_id text =group, topics [topic_id uuid =topic_id, partitions [partition i32 \
             =partition, leader_epoch i32]]",
        response: "results [topic_id uuid =topic_id, partitions [partition i32 =partition, error_code \
             i16 =error, error_message text =error_message, state_epoch i32, start_offset i64]]",
    },
    Api { name: "StreamsGroupHeartbeat", newest: -1, flexible: 0, request: "", response: "" },
    Api { name: "StreamsGroupDescribe", newest: -1, flexible: 0, request: "", response: "" },
    Api { name: "DescribeShareGroupOffsets", newest: -1, flexible: 0, request: "", response: "" },
    Api { name: "AlterShareGroupOffsets", newest: -1, flexible: 0, request: "", response: "" },
    Api { name: "DeleteShareGroupOffsets", newest: -1, flexible: 0, request: "", response: "" },
];

/// The names of error codes from -1 on.
const ERRORS: &[&str] = &[
    "UNKNOWN_SERVER_ERROR",
    "NONE",
    "OFFSET_OUT_OF_RANGE",
    "CORRUPT_MESSAGE",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "INVALID_FETCH_SIZE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_OR_FOLLOWER",
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "MESSAGE_TOO_LARGE",
    "STALE_CONTROLLER_EPOCH",
    "OFFSET_METADATA_TOO_LARGE",
    "NETWORK_EXCEPTION",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "INVALID_TOPIC_EXCEPTION",
    "RECORD_LIST_TOO_LARGE",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "INVALID_REQUIRED_ACKS",
    "ILLEGAL_GENERATION",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "UNKNOWN_MEMBER_ID",
    "INVALID_SESSION_TIMEOUT",
    "REBALANCE_IN_PROGRESS",
    "INVALID_COMMIT_OFFSET_SIZE",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_TIMESTAMP",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "UNSUPPORTED_VERSION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REPLICA_ASSIGNMENT",
    "INVALID_CONFIG",
    "NOT_CONTROLLER",
    "INVALID_REQUEST",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "POLICY_VIOLATION",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "DUPLICATE_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "INVALID_PRODUCER_ID_MAPPING",
    "INVALID_TRANSACTION_TIMEOUT",
    "CONCURRENT_TRANSACTIONS",
    "TRANSACTION_COORDINATOR_FENCED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SECURITY_DISABLED",
    "OPERATION_NOT_ATTEMPTED",
    "KAFKA_STORAGE_ERROR",
    "LOG_DIR_NOT_FOUND",
    "SASL_AUTHENTICATION_FAILED",
    "UNKNOWN_PRODUCER_ID",
    "REASSIGNMENT_IN_PROGRESS",
    "DELEGATION_TOKEN_AUTH_DISABLED",
    "DELEGATION_TOKEN_NOT_FOUND",
    "DELEGATION_TOKEN_OWNER_MISMATCH",
    "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    "DELEGATION_TOKEN_EXPIRED",
    "INVALID_PRINCIPAL_TYPE",
    "NON_EMPTY_GROUP",
    "GROUP_ID_NOT_FOUND",
    "FETCH_SESSION_ID_NOT_FOUND",
    "INVALID_FETCH_SESSION_EPOCH",
    "LISTENER_NOT_FOUND",
    "TOPIC_DELETION_DISABLED",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "STALE_BROKER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
    "MEMBER_ID_REQUIRED",
    "PREFERRED_LEADER_NOT_AVAILABLE",
    "GROUP_MAX_SIZE_REACHED",
    "FENCED_INSTANCE_ID",
    "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    "ELECTION_NOT_NEEDED",
    "NO_REASSIGNMENT_IN_PROGRESS",
    "GROUP_SUBSCRIBED_TO_TOPIC",
    "INVALID_RECORD",
    "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED",
    "PRODUCER_FENCED",
    "RESOURCE_NOT_FOUND",
    "DUPLICATE_RESOURCE",
    "UNACCEPTABLE_CREDENTIAL",
    "INCONSISTENT_VOTER_SET",
    "INVALID_UPDATE_VERSION",
    "FEATURE_UPDATE_FAILED",
    "PRINCIPAL_DESERIALIZATION_FAILURE",
    "SNAPSHOT_NOT_FOUND",
    "POSITION_OUT_OF_RANGE",
    "UNKNOWN_TOPIC_ID",
    "DUPLICATE_BROKER_REGISTRATION",
    "BROKER_ID_NOT_REGISTERED",
    "INCONSISTENT_TOPIC_ID",
    "INCONSISTENT_CLUSTER_ID",
    "TRANSACTIONAL_ID_NOT_FOUND",
    "FETCH_SESSION_TOPIC_ID_ERROR",
    "INELIGIBLE_REPLICA",
    "NEW_LEADER_ELECTED",
    "OFFSET_MOVED_TO_TIERED_STORAGE",
    "FENCED_MEMBER_EPOCH",
    "UNRELEASED_INSTANCE_ID",
    "UNSUPPORTED_ASSIGNOR",
    "STALE_MEMBER_EPOCH",
    "MISMATCHED_ENDPOINT_TYPE",
    "UNSUPPORTED_ENDPOINT_TYPE",
    "UNKNOWN_CONTROLLER_ID",
    "UNKNOWN_SUBSCRIPTION_ID",
    "TELEMETRY_TOO_LARGE",
    "INVALID_REGISTRATION",
    "TRANSACTION_ABORTABLE",
    "INVALID_RECORD_STATE",
    "SHARE_SESSION_NOT_FOUND",
    "INVALID_SHARE_SESSION_EPOCH",
    "FENCED_STATE_EPOCH",
    "INVALID_VOTER_KEY",
    "DUPLICATE_VOTER",
    "VOTER_NOT_FOUND",
    "INVALID_REGULAR_EXPRESSION",
    "REBOOTSTRAP_REQUIRED",
    "STREAMS_INVALID_TOPOLOGY",
    "STREAMS_INVALID_TOPOLOGY_EPOCH",
    "STREAMS_TOPOLOGY_FENCED",
    "SHARE_SESSION_LIMIT_REACHED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_every_version_has_its_steps() {
        for (key, api) in APIS.iter().enumerate() {
            assert!(api.newest < VERSIONS as i16, "{}", api.name);
            for version in 0..=api.newest {
                for (is_request, text) in [(true, api.request), (false, api.response)] {
                    let mut to = Compiler {
                        rest: text,
                        version,
                        is_flexible: version >= api.flexible,
                        steps: Vec::new(),
                    };
                    to.fields(true, 0);
                    assert_eq!(to.rest, "", "{} {version}", api.name);
                    let steps = steps(key as i16, version, is_request);
                    let begin = |it: &&Step| {
                        matches!(
                            it.kind,
                            Kind::Plain
                                | Kind::CompactPlain
                                | Kind::Array
                                | Kind::CompactArray
                                | Kind::Group
                                | Kind::OptionalGroup
                        )
                    };
                    let end = |it: &&Step| matches!(it.kind, Kind::Next | Kind::GroupEnd);
                    assert_eq!(
                        steps.iter().filter(begin).count(),
                        steps.iter().filter(end).count(),
                        "{} {version}",
                        api.name
                    );
                    for (place, step) in steps.iter().enumerate().filter(|(_, it)| begin(it)) {
                        // An element of nothing would repeat for as long as a count says.
                        assert!(step.end > place + 2, "{} {version} {}", api.name, step.label);
                    }
                }
            }
        }
    }

    #[test]
    fn every_word_means_something() {
        for text in APIS.iter().flat_map(|it| [it.request, it.response]) {
            for word in text.split('=').skip(1) {
                let word = word.split([',', ' ', ']', '}']).next().unwrap();
                assert_ne!(meaning(word), What::Plain, "{word}");
            }
        }
    }

    #[test]
    fn fields_come_and_go_with_versions() {
        let names = |key, version, is_request| -> Vec<_> {
            let steps = steps(key, version, is_request).iter();
            steps
                .map(|it| it.label.trim_matches([',', ':', '"']))
                .filter(|it| !it.is_empty())
                .collect()
        };
        assert_eq!(names(PRODUCE, 0, true)[0], "acks");
        assert_eq!(names(PRODUCE, 3, true)[0], "transactional_id");
        assert!(names(1, 12, true).contains(&"topic"));
        assert!(names(1, 13, true).contains(&"topic_id"));
        assert!(names(1, 99, true).is_empty());
        assert_eq!(error_name(-1), Some("UNKNOWN_SERVER_ERROR"));
        assert_eq!(error_name(35), Some("UNSUPPORTED_VERSION"));
        assert_eq!(error_name(128), Some("INVALID_REGULAR_EXPRESSION"));
        assert_eq!(
            (error_name(999), error_name(i16::MAX), error_name(i16::MIN)),
            (None, None, None)
        );
        assert_eq!(api(92).map(|it| it.name), Some("DeleteShareGroupOffsets"));
        assert!(api(93).is_none() && api(-1).is_none());
    }
}
