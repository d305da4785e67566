//! The original's names, and what they are here: the one place where this crate speaks of
//! protocols, for it is the other language that does.
//!
//! A column is written with a `$` before it. A word that is only of some tables has its default in
//! the others, or in the older KFL is missing there. Where the original's pages disagree with each
//! other, the word says so rather than guess.

/// A name of KFL.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: &'static str,
    /// The tables it is of; all of them if none is named.
    pub(super) on: &'static [&'static str],
    pub(super) is: Meaning,
}

/// What a name is here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// The row is of one of the word's tables.
    Table,
    /// A condition, and its opposite.
    Flag(&'static str, &'static str),
    /// A text, `""` where it is null.
    Text(&'static str),
    /// A text with something in front that the column lacks.
    Prefixed(&'static str, &'static str),
    /// A text whose case and underscores don't matter.
    Loose(&'static str),
    /// A number, 0 where it is null.
    Number(&'static str),
    /// A time span in this many nanoseconds, 0 where it is null.
    Span(&'static str, i64),
    /// A moment.
    Time(&'static str),
    /// The name of the protocol.
    Protocol,
    /// A text of which only whether it is this one can be said.
    Known(&'static str, &'static str),
    /// The same in every row of the table.
    Always(&'static str),
    /// Either of two columns, told apart by whether the value is all capitals: then the second.
    Either(&'static str, &'static str),
    /// What the rows of these columns have together.
    Columns(&'static [&'static str]),
    /// Words of the lines of a column of texts, counted from 0; the first line's has a column.
    Words(&'static str, &'static str, usize),
    /// A column of texts, and one with their number.
    Texts(&'static str, &'static str),
    /// A text for each key: SQL with `{}` for the key.
    Map(&'static str),
    /// Rows that a filter doesn't see; which ones, and what could be asked instead.
    Outside(&'static str),
    /// Why it is not here.
    Nothing(&'static str),
}

use Meaning::{
    Always, Columns, Either, Flag, Known, Loose, Map, Nothing, Number, Outside, Prefixed, Protocol,
    Span, Table, Text, Texts, Time, Words,
};

const fn word(name: &'static str, on: &'static [&'static str], is: Meaning) -> Word {
    Word { name, on, is }
}

const ALL: &[&str] = &[];
const HTTP: &[&str] = &["http"];
const GRPC: &[&str] = &["grpc"];
const DNS: &[&str] = &["dns"];
const TLS: &[&str] = &["tls"];
const WS: &[&str] = &["websocket"];
const REDIS: &[&str] = &["redis"];
const KAFKA: &[&str] = &["kafka"];
const AMQP: &[&str] = &["amqp"];
const LDAP: &[&str] = &["ldap"];
const RADIUS: &[&str] = &["radius"];
const DIAMETER: &[&str] = &["diameter"];
const MONGODB: &[&str] = &["mongodb"];
const MYSQL: &[&str] = &["mysql"];
const POSTGRESQL: &[&str] = &["postgresql"];
const SCTP: &[&str] = &["sctp"];

const NUMBERS: &str = "the original's own numbers of rows mean nothing here";
const PEERS: &str = "rows tell client from server, not the local peer from the remote one";
const RESOLVED: &str = "rows have no names from DNS for addresses";
const NAMED: &str = "it may be a name from DNS, which rows don't have; write the pod's or the \
                     service's, as in src.pod.name";
const SUMMARY: &str = "its wording is the original's own";
const UNKEPT: &str = "there is no column for it";
const PACKETS: &str = "packets are rows of `packets`, which SQL asks: select * from packets";
const CONVERSATIONS: &str =
    "conversations are rows of `connections`, which SQL asks: select * from connections";

/// The names of the newer KFL.
pub(super) static NEWER: &[Word] = &[
    // Of every row.
    word("src.ip", ALL, Text("$client_ip")),
    word("dst.ip", ALL, Text("$server_ip")),
    word("src.port", ALL, Number("$client_port")),
    word("dst.port", ALL, Number("$server_port")),
    word("protocol", ALL, Protocol),
    word("timestamp", ALL, Time("$ts")),
    word("elapsed_time", ALL, Span("$duration", 1_000)),
    word("tls", ALL, PLAINTEXT),
    word("node_name", ALL, Text("$node")),
    word("node_ip", ALL, Nothing(UNKEPT)),
    word("node", ALL, Nothing("write node_name")),
    word("src.pod.name", ALL, Text("coalesce($client_pod, $client_service)")),
    word("dst.pod.name", ALL, Text("coalesce($server_pod, $server_service)")),
    word("src.pod.namespace", ALL, Text("$client_namespace")),
    word("dst.pod.namespace", ALL, Text("$server_namespace")),
    word("src.namespace", ALL, Text("$client_namespace")),
    word("dst.namespace", ALL, Text("$server_namespace")),
    word("src.service.name", ALL, Text("$client_service")),
    word("dst.service.name", ALL, Text("$server_service")),
    word("src.service.namespace", ALL, Text(CLIENT_SERVICE)),
    word("dst.service.namespace", ALL, Text(SERVER_SERVICE)),
    word("src.name", ALL, Nothing(NAMED)),
    word("dst.name", ALL, Nothing(NAMED)),
    word("namespaces", ALL, Columns(&["$client_namespace", "$server_namespace"])),
    word("pods", ALL, Columns(&["$client_pod", "$server_pod"])),
    word("services", ALL, Columns(&["$client_service", "$server_service"])),
    word("src.dns", ALL, Nothing(RESOLVED)),
    word("dst.dns", ALL, Nothing(RESOLVED)),
    word("dns_resolutions", ALL, Nothing(RESOLVED)),
    word("local_labels", ALL, Nothing("rows have no labels")),
    word("remote_labels", ALL, Nothing("rows have no labels")),
    word("local_annotations", ALL, Nothing("rows have no annotations")),
    word("remote_annotations", ALL, Nothing("rows have no annotations")),
    word("local_node_name", ALL, Nothing(PEERS)),
    word("remote_node_name", ALL, Nothing(PEERS)),
    word("local_process_name", ALL, Nothing(PEERS)),
    word("remote_process_name", ALL, Nothing(PEERS)),
    word("local_resolution_status", ALL, Nothing(UNKEPT)),
    word("remote_resolution_status", ALL, Nothing(UNKEPT)),
    word("capture_source", ALL, Known("ebpf_tls", "$capture = 'plaintext'")),
    word("capture_source_code", ALL, Nothing(SOURCES)),
    word("capture_backend", ALL, Nothing(SOURCES)),
    word("capture", ALL, Nothing(SOURCES)),
    word("has_pcap", ALL, Nothing(PACKETS)),
    word("id", ALL, Nothing(NUMBERS)),
    word("index", ALL, Nothing(NUMBERS)),
    word("stream", ALL, Nothing(NUMBERS)),
    word("conn_id", ALL, Nothing(NUMBERS)),
    word("flow_id", ALL, Nothing(NUMBERS)),
    word("node_id", ALL, Nothing("write node_name")),
    word("worker", ALL, Nothing("write node_name")),
    // HTTP.
    word("http", HTTP, Table),
    word("method", HTTP, Text("$verb")),
    word("url", HTTP, Text("$target")),
    word("path", HTTP, Text("$path")),
    word("status_code", &["http", "dns", "graphql"], Number("$status")),
    word("http_version", HTTP, Prefixed("HTTP/", "$version")),
    word("query_string", HTTP, Map("query_parameter($query, {})")),
    word("request.headers", HTTP, Map("header($request_headers, {})")),
    word("response.headers", HTTP, Map("header($response_headers, {})")),
    word("request.cookies", HTTP, Map("cookie($request_headers, {})")),
    word("response.cookies", HTTP, Map("cookie($response_headers, {})")),
    word("request_headers_size", HTTP, Nothing(UNKEPT)),
    word("response_headers_size", HTTP, Nothing(UNKEPT)),
    word("request_body_size", HTTP, Number("$request_body_bytes")),
    word("response_body_size", HTTP, Number("$response_body_bytes")),
    word("gql", &["graphql"], Table),
    word("gqlv1", &["graphql"], Nothing("rows don't tell the two apart; write gql")),
    word("gqlv2", &["graphql"], Nothing("rows don't tell the two apart; write gql")),
    word("grpc", GRPC, Table),
    word("grpc_method", GRPC, Text("$verb")),
    word("grpc_status", GRPC, Number("$status")),
    // DNS.
    word("dns", DNS, Table),
    word("dns_questions", DNS, Words("$question_name", "$questions", 0)),
    word("dns_question_types", DNS, Words("$question_type", "$questions", 2)),
    word("dns_answers", DNS, Texts("$answers", "$answer_count")),
    word("dns_request", DNS, ASKED),
    word("dns_response", DNS, ANSWERED),
    word("dns_request_length", DNS, Number("$request_bytes")),
    word("dns_response_length", DNS, Number("$response_bytes")),
    word("dns_total_size", DNS, Number(BOTH)),
    // TLS.
    word("tlsx", TLS, Table),
    word("tlsx_sni", TLS, Text("$server_name")),
    word("tlsx_alpn", TLS, Text("$alpn")),
    word("tlsx_version", TLS, Text("$version")),
    word("tlsx_cipher_suite", TLS, Text("$cipher")),
    word("tlsx_cipher_suites", TLS, Texts("$request_ciphers", "cardinality($request_ciphers)")),
    word("tlsx_summary", TLS, Nothing(SUMMARY)),
    word("tlsx_info", TLS, Nothing(SUMMARY)),
    word("tls_summary", TLS, Nothing(SUMMARY)),
    word("tls_info", TLS, Nothing(SUMMARY)),
    word("tls_request_size", TLS, Number("$request_bytes")),
    word("tls_response_size", TLS, Number("$response_bytes")),
    word("tls_total_size", TLS, Number(BOTH)),
    // WebSocket.
    word("ws", WS, Table),
    word("ws_opcode", WS, Text("$opcode")),
    word("ws_request", WS, Flag("$sender = 'client'", "$sender <> 'client'")),
    word("ws_response", WS, Flag("$sender = 'server'", "$sender <> 'server'")),
    word(
        "ws_request_payload_data",
        WS,
        Text("case when $sender = 'client' then text($payload) end"),
    ),
    word(
        "ws_request_payload_length",
        WS,
        Number("case when $sender = 'client' then $payload_bytes end"),
    ),
    word(
        "ws_response_payload_length",
        WS,
        Number("case when $sender = 'server' then $payload_bytes end"),
    ),
    // Data stores.
    word("redis", REDIS, Table),
    word("redis_type", REDIS, Text("$verb")),
    word(
        "redis_command",
        REDIS,
        Text("rtrim(concat_ws(' ', $verb, array_to_string($arguments, ' ')))"),
    ),
    word("redis_key", REDIS, Text("$key")),
    word("redis_request_size", REDIS, Number("$request_bytes")),
    word("redis_response_size", REDIS, Number("$response_bytes")),
    word("redis_total_size", REDIS, Number(BOTH)),
    word("mongodb", MONGODB, Table),
    word("mongodb_command", MONGODB, Text("$command")),
    word("mongodb_database", MONGODB, Text("$database")),
    word("mongodb_collection", MONGODB, Text("$collection")),
    word("mongodb_opcode", MONGODB, Prefixed("OP_", "$opcode")),
    word("mongodb_request_size", MONGODB, Number("$request_bytes")),
    word("mongodb_response_size", MONGODB, Number("$response_bytes")),
    word("mongodb_total_size", MONGODB, Number(BOTH)),
    word("mongodb_success", MONGODB, SUCCEEDED),
    word("mongodb_error_code", MONGODB, Number("$error_code")),
    word("mongodb_error_message", MONGODB, Text("$error")),
    word("mongodb_error_code_name", MONGODB, Text("$error_name")),
    word("mysql", MYSQL, Table),
    word("mysql_command", MYSQL, Text("$command")),
    word("mysql_query", MYSQL, Text("$statement")),
    word("mysql_database", MYSQL, Text("$database")),
    word("mysql_statement_id", MYSQL, Number("$statement_id")),
    word("mysql_request_size", MYSQL, Number("$request_bytes")),
    word("mysql_response_size", MYSQL, Number("$response_bytes")),
    word("mysql_total_size", MYSQL, Number(BOTH)),
    word("mysql_success", MYSQL, SUCCEEDED),
    word("mysql_error_code", MYSQL, Number("$error_code")),
    word("mysql_error_message", MYSQL, Text("$error")),
    word("postgresql", POSTGRESQL, Table),
    word("postgresql_command", POSTGRESQL, Either("$message", "$operation")),
    word("postgresql_query", POSTGRESQL, Text("$statement")),
    word("postgresql_database", POSTGRESQL, Text("$database")),
    word("postgresql_user", POSTGRESQL, Text("$user")),
    word("postgresql_request_size", POSTGRESQL, Number("$request_bytes")),
    word("postgresql_response_size", POSTGRESQL, Number("$response_bytes")),
    word("postgresql_total_size", POSTGRESQL, Number(BOTH)),
    word("postgresql_success", POSTGRESQL, SUCCEEDED),
    word("postgresql_error_code", POSTGRESQL, Text("$sqlstate")),
    word("postgresql_error_message", POSTGRESQL, Text("$error")),
    // Messaging.
    word("kafka", KAFKA, Table),
    word(
        "kafka_api_key",
        KAFKA,
        Nothing(
            "the original's pages number the APIs in another way than Kafka does; write kafka_api_key_name",
        ),
    ),
    word("kafka_api_key_name", KAFKA, Loose("$api")),
    word("kafka_client_id", KAFKA, Text("$client_id")),
    word(
        "kafka_size",
        KAFKA,
        Number("case when $request_bytes > 0 then $request_bytes else $response_bytes end"),
    ),
    word("kafka_request", KAFKA, ASKED),
    word("kafka_response", KAFKA, ANSWERED),
    word("kafka_request_summary", KAFKA, Text("array_to_string($topics, ', ')")),
    word("kafka_request_size", KAFKA, Number("$request_bytes")),
    word("kafka_response_size", KAFKA, Number("$response_bytes")),
    word("amqp", AMQP, Table),
    word("amqp_method", AMQP, Text("$method")),
    word("amqp_summary", AMQP, Nothing(SUMMARY)),
    word("amqp_request", AMQP, ASKED),
    word("amqp_response", AMQP, ANSWERED),
    word("amqp_request_length", AMQP, Number("$request_bytes")),
    word("amqp_response_length", AMQP, Number("$response_bytes")),
    word("amqp_total_size", AMQP, Number(BOTH)),
    // Directories and access.
    word("ldap", LDAP, Table),
    word("ldap_type", LDAP, Text("$operation")),
    word("ldap_summary", LDAP, Nothing(SUMMARY)),
    word("ldap_request", LDAP, ASKED),
    word("ldap_response", LDAP, ANSWERED),
    word("ldap_request_length", LDAP, Number("$request_bytes")),
    word("ldap_response_length", LDAP, Number("$response_bytes")),
    word("ldap_total_size", LDAP, Number(BOTH)),
    word("radius", RADIUS, Table),
    word("radius_code", RADIUS, Nothing("rows have the code's name; write radius_code_name")),
    word("radius_code_name", RADIUS, Text("coalesce($request_code, $response_code)")),
    word("radius_request", RADIUS, ASKED),
    word("radius_response", RADIUS, ANSWERED),
    word("radius_request_authenticator", RADIUS, Nothing("keys are never kept")),
    word("radius_request_length", RADIUS, Number("$request_bytes")),
    word("radius_response_length", RADIUS, Number("$response_bytes")),
    word("radius_total_size", RADIUS, Number(BOTH)),
    word("diameter", DIAMETER, Table),
    word("diameter_method", DIAMETER, Text("$command")),
    word("diameter_summary", DIAMETER, Nothing(SUMMARY)),
    word("diameter_request", DIAMETER, ASKED),
    word("diameter_response", DIAMETER, ANSWERED),
    word("diameter_request_length", DIAMETER, Number("$request_bytes")),
    word("diameter_response_length", DIAMETER, Number("$response_bytes")),
    word("diameter_total_size", DIAMETER, Number(BOTH)),
    // Below.
    word("sctp", SCTP, Table),
    word("sctp_chunk_type", SCTP, Text("$chunk")),
    word("sctp_checksum", SCTP, Nothing(UNKEPT)),
    word(
        "sctp_length",
        SCTP,
        Nothing("rows have the bytes of a chunk without its head, sctp.chunk_bytes"),
    ),
    word("icmp", &["icmp", "icmpv6"], Table),
    word("icmp_version", &["icmp"], Always("4")),
    word("icmp_version", &["icmpv6"], Always("6")),
    word(
        "icmp_type",
        &["icmp", "icmpv6"],
        Nothing("rows have the type's number, icmp.message_type"),
    ),
    word(
        "icmp_length",
        &["icmp", "icmpv6"],
        Nothing("rows have the bytes behind the head, icmp.payload_bytes"),
    ),
    word("tcp", ALL, Outside(CONVERSATIONS)),
    word("tcp_method", ALL, Outside(CONVERSATIONS)),
    word("tcp_payload", ALL, Outside(PACKETS)),
    word("tcp_error_type", ALL, Outside(CONVERSATIONS)),
    word("tcp_error_message", ALL, Outside(CONVERSATIONS)),
    word("udp", ALL, Outside(CONVERSATIONS)),
    word("udp_length", ALL, Outside(PACKETS)),
    word("udp_checksum", ALL, Outside(PACKETS)),
    word("udp_payload", ALL, Outside(PACKETS)),
    word("conn", ALL, Outside(CONVERSATIONS)),
    word("tcp_conn", ALL, Outside(CONVERSATIONS)),
    word("udp_conn", ALL, Outside(CONVERSATIONS)),
    word("conn_state", ALL, Outside(CONVERSATIONS)),
    word("conn_local_pkts", ALL, Outside(CONVERSATIONS)),
    word("conn_local_bytes", ALL, Outside(CONVERSATIONS)),
    word("conn_remote_pkts", ALL, Outside(CONVERSATIONS)),
    word("conn_remote_bytes", ALL, Outside(CONVERSATIONS)),
    word("conn_l7_detected", ALL, Outside(CONVERSATIONS)),
    word("conn_group_id", ALL, Outside(CONVERSATIONS)),
    word("flow", ALL, Outside(CONVERSATIONS)),
    word("tcp_flow", ALL, Outside(CONVERSATIONS)),
    word("udp_flow", ALL, Outside(CONVERSATIONS)),
    word("flow_state", ALL, Outside(CONVERSATIONS)),
    word("flow_local_pkts", ALL, Outside(CONVERSATIONS)),
    word("flow_local_bytes", ALL, Outside(CONVERSATIONS)),
    word("flow_remote_pkts", ALL, Outside(CONVERSATIONS)),
    word("flow_remote_bytes", ALL, Outside(CONVERSATIONS)),
    word("flow_local_pps", ALL, Outside(CONVERSATIONS)),
    word("flow_local_bps", ALL, Outside(CONVERSATIONS)),
    word("flow_remote_pps", ALL, Outside(CONVERSATIONS)),
    word("flow_remote_bps", ALL, Outside(CONVERSATIONS)),
    word("flow_l7_detected", ALL, Outside(CONVERSATIONS)),
    word("flow_group_id", ALL, Outside(CONVERSATIONS)),
];

/// The names of the older KFL: macros for protocols, and paths into the original's records.
pub(super) static OLDER: &[Word] = &[
    word("http", HTTP, Flag("$version like '1.%'", "$version not like '1.%'")),
    word("http2", HTTP, HTTP2),
    word("grpc", GRPC, Table),
    word("gql", &["graphql"], Table),
    word("dns", DNS, Table),
    word("ws", WS, Table),
    word("redis", REDIS, Table),
    word("kafka", KAFKA, Table),
    word("amqp", AMQP, Table),
    word("ldap", LDAP, Table),
    word("radius", RADIUS, Table),
    word("diameter", DIAMETER, Table),
    word("mysql", MYSQL, Table),
    word("postgresql", POSTGRESQL, Table),
    word("mongodb", MONGODB, Table),
    word("sctp", SCTP, Table),
    word("icmp", &["icmp", "icmpv6"], Table),
    word("tls", ALL, PLAINTEXT),
    word("tcp", ALL, Outside(CONVERSATIONS)),
    word("udp", ALL, Outside(CONVERSATIONS)),
    word("protocol.name", ALL, Protocol),
    word("src.ip", ALL, Text("$client_ip")),
    word("dst.ip", ALL, Text("$server_ip")),
    word("src.port", ALL, Number("$client_port")),
    word("dst.port", ALL, Number("$server_port")),
    word("src.name", ALL, Nothing(NAMED)),
    word("dst.name", ALL, Nothing(NAMED)),
    word("src.namespace", ALL, Text("$client_namespace")),
    word("dst.namespace", ALL, Text("$server_namespace")),
    word("src.pod", ALL, Nothing(NAMED)),
    word("dst.pod", ALL, Nothing(NAMED)),
    word("namespace", ALL, Nothing("write src.namespace or dst.namespace")),
    word("node.name", ALL, Text("$node")),
    word("node.ip", ALL, Nothing(UNKEPT)),
    word("timestamp", ALL, Time("$ts")),
    word("startTime", ALL, Nothing("write timestamp")),
    word("elapsedTime", ALL, Span("$duration", 1_000_000)),
    word("outgoing", ALL, Nothing(PEERS)),
    word("id", ALL, Nothing(NUMBERS)),
    word("index", ALL, Nothing(NUMBERS)),
    word("stream", ALL, Nothing(NUMBERS)),
    word("worker", ALL, Nothing("write node.name")),
    word("requestSize", ALL, Number("$request_bytes")),
    word("responseSize", ALL, Number("$response_bytes")),
    word("request.method", HTTP, Text("$verb")),
    word("request.url", HTTP, Text("$target")),
    word("request.targetUri", HTTP, Text("$target")),
    word("request.path", HTTP, Text("$path")),
    word("request.headers", HTTP, Map("header($request_headers, {})")),
    word("request.cookies", HTTP, Map("cookie($request_headers, {})")),
    word("request.query", HTTP, Map("query_parameter($query, {})")),
    word("request.queryString", HTTP, Map("query_parameter($query, {})")),
    word("request.bodySize", HTTP, Number("$request_body_bytes")),
    word("request.body", HTTP, Text("text($request_body)")),
    word("request.postData.text", HTTP, Text("text($request_body)")),
    word("response.status", HTTP, Number("$status")),
    word("response.statusText", HTTP, Text("$reason")),
    word("response.headers", HTTP, Map("header($response_headers, {})")),
    word("response.cookies", HTTP, Map("cookie($response_headers, {})")),
    word("response.bodySize", HTTP, Number("$response_body_bytes")),
    word("response.body", HTTP, Text("text($response_body)")),
    word("response.content.text", HTTP, Text("text($response_body)")),
];

/// What the original's functions of the older KFL are, which the newer one doesn't have.
pub(super) const OLDER_CALLS: [&str; 14] = [
    "datetime", "limit", "rlimit", "leftOff", "json", "xml", "redact", "seconds", "minutes",
    "hours", "days", "weeks", "months", "years",
];

/// How the gRPC call looks in its row of `http`, where a filter asks for HTTP too.
pub(super) static GRPC_AS_HTTP: &[Word] = &[
    word("grpc", HTTP, Flag(IS_GRPC, IS_NOT_GRPC)),
    word("grpc_method", HTTP, Text("split_part($path, '/', 3)")),
    word("grpc_status", HTTP, Number("try_cast(header($response_headers, 'grpc-status') as int)")),
];

/// Tables whose rows are also in `http`: what a request there carried.
pub(super) const ALSO_HTTP: [&str; 3] = ["grpc", "graphql", "sse"];

const ASKED: Meaning = Flag("$request_bytes > 0", "$request_bytes = 0");
const ANSWERED: Meaning = Flag("$response_bytes > 0", "$response_bytes = 0");
const SUCCEEDED: Meaning = Flag("not $failed", "$failed");
const PLAINTEXT: Meaning = Flag("$capture = 'plaintext'", "$capture <> 'plaintext'");
/// A request of HTTP that carries a gRPC call.
pub(super) const IS_GRPC: &str = "$request_content_type like 'application/grpc%'";
pub(super) const IS_NOT_GRPC: &str = "$request_content_type not like 'application/grpc%'";
/// The older KFL tells HTTP/2 from gRPC, which is spoken over it.
const HTTP2: Meaning = Flag(
    "($version = '2' and coalesce($request_content_type, '') not like 'application/grpc%')",
    "($version <> '2' or $request_content_type like 'application/grpc%')",
);
const BOTH: &str = "($request_bytes + $response_bytes)";
const CLIENT_SERVICE: &str = "case when $client_service is not null then $client_namespace end";
const SERVER_SERVICE: &str = "case when $server_service is not null then $server_namespace end";
const SOURCES: &str = "rows tell plaintext from packets, not how packets were captured; write tls";
