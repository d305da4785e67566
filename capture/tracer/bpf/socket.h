#pragma once
// Sockets: whose they are, and what their ends are.

// The process that opened a socket, or was the first to use it.
struct owner {
	__u64 cgroup;
	__u32 pid, tid;		// 0: nobody has used it so far
	__u32 role;
	__u32 port;		// its own; the socket has forgotten it when it is closed
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

// Both TLS objects and sockets are recycled by their allocators: the ports are compared as well.
static __always_inline bool same_socket(const struct ends *a, const struct ends *b)
{
	return a->sock == b->sock && a->local_port == b->local_port && a->remote_port == b->remote_port;
}

static __always_inline bool read_ends(struct sock *sk, struct ends *to)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->family = sk->__sk_common.skc_family;
	if (to->family == AF_INET) {
		*(__u32 *)to->local = sk->__sk_common.skc_rcv_saddr;
		*(__u32 *)to->remote = sk->__sk_common.skc_daddr;
	} else if (to->family == AF_INET6) {
		const __u64 *local = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;
		const __u64 *remote = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
		((__u64 *)to->local)[0] = local[0];
		((__u64 *)to->local)[1] = local[1];
		((__u64 *)to->remote)[0] = remote[0];
		((__u64 *)to->remote)[1] = remote[1];
	} else {
		to->family = 0;
		return false;
	}
	to->local_port = sk->__sk_common.skc_num;
	to->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	to->netns = sk->__sk_common.skc_net.net->ns.inum;
	to->cgroup = sk->sk_cgrp_data.cgroup->kn->id;
	to->sock = (__u64)sk;
	return true;
}

static __always_inline void own(struct sock *sk, __u32 role)
{
	__u64 id = bpf_get_current_pid_tgid(), key = (__u64)sk;
	struct owner it = {
		.cgroup = bpf_get_current_cgroup_id(), .pid = id >> 32, .tid = (__u32)id, .role = role,
		.port = sk->__sk_common.skc_num,
	};
	bpf_get_current_comm(it.comm, sizeof(it.comm));
	bpf_map_update_elem(&owners, &key, &it, BPF_ANY);
}

static __always_inline void tell(struct sock *sk, __u8 kind, const struct owner *owner)
{
	struct head *h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);
	if (!h) {
		count(LOST_PIECES, 1);
		return;
	}
	fill(h, kind);
	h->pid = owner->pid;	// in an interrupt, the process at hand is a bystander
	h->tid = owner->tid;
	h->cgroup = owner->cgroup;
	h->role = owner->role;
	__builtin_memcpy(h->comm, owner->comm, sizeof(h->comm));
	if (!read_ends(sk, &h->ends)) {
		bpf_ringbuf_discard(h, 0);
		return;
	}
	h->ends.local_port = owner->port;
	bpf_ringbuf_submit(h, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int before, int after)
{
	if (!enabled || sk->sk_protocol != IPPROTO_TCP || !targeted(sk->sk_cgrp_data.cgroup->kn->id))
		return 0;
	__u64 key = (__u64)sk;
	struct owner *owner = bpf_map_lookup_elem(&owners, &key);
	if (after == TCP_SYN_SENT) {	// in the process that connects; it has no port yet
		own(sk, CLIENT);
	} else if (after == TCP_ESTABLISHED && before == TCP_SYN_SENT) {
		if (owner) {
			owner->port = sk->__sk_common.skc_num;
			tell(sk, CONNECT, owner);
		}
	} else if (after == TCP_ESTABLISHED) {	// whoever uses it first has accepted it
		struct owner nobody = { .role = SERVER, .port = sk->__sk_common.skc_num };
		bpf_map_update_elem(&owners, &key, &nobody, BPF_ANY);
	} else if (after == TCP_CLOSE && before != TCP_LISTEN && owner) {
		if (before == TCP_SYN_SENT) {	// nobody has answered, or refused it: packets there are all the same
			__be16 port = 0;
			bpf_probe_read_kernel(&port, sizeof(port), &((struct inet_sock *)sk)->inet_sport);
			owner->port = bpf_ntohs(port);
			tell(sk, CONNECT, owner);
		}
		tell(sk, CLOSE, owner);
		bpf_map_delete_elem(&owners, &key);
	}
	return 0;
}

// A process reads from or writes to a socket. `accept` needs no hook of its own: the first to use a socket is told.
static __always_inline void used(struct sock *sk)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	__u64 key = (__u64)sk;
	struct owner *owner = bpf_map_lookup_elem(&owners, &key);
	if (owner && owner->pid)
		return;
	__u32 role = owner ? owner->role : UNKNOWN;
	own(sk, role);
	owner = bpf_map_lookup_elem(&owners, &key);
	if (owner)
		tell(sk, role == SERVER ? ACCEPT : OPEN, owner);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec)
{
	if (!wanted())
		return 0;
	struct head *h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);
	if (!h) {
		count(LOST_PIECES, 1);
		return 0;
	}
	fill(h, EXEC);
	__builtin_memset(&h->ends, 0, sizeof(h->ends));
	bpf_ringbuf_submit(h, 0);
	return 0;
}
