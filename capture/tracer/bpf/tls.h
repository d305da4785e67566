#pragma once
// TLS libraries: a probe where a call begins and one where it returns. The socket is found without knowing anything
// of the library's own structures: by what the thread sends and receives during the call, or, where the program
// moves the ciphertext itself (node, asyncio), by what it received right before.

enum how { NESTED = 1, RECEIVED_BEFORE };

// A call that has not returned.
struct call {
	__u64 session, buffer, length_at, stack;
	__u32 direction, role;
	__u64 started;		// of the process, so that one with a recycled number is not taken for it
	__u32 flags, by_routine;	// whether a goroutine makes it: see go.h
	__u64 seen;
	struct ends ends;
};
enum direction { RECEIVES, SENDS, HANDSHAKE };

// What is known of a TLS object.
struct session_key {
	__u64 session;
	__u32 pid, unused;
};
struct session {
	__u64 started;
	__u64 offsets[2];
	__u32 role, flags;
	struct ends ends;
};

// By thread. Least recently used ones go, so that threads that die in a call leave nothing behind for ever.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

// Those of Go, by goroutine.
struct go_key {
	__u64 routine;
	__u32 pid, unused;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct go_key);
	__type(value, struct call);
} go_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct session_key);
	__type(value, struct session);
} sessions SEC(".maps");

// By thread: the socket it received from last, until a TLS call has used it up.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ends);
} received SEC(".maps");

// The call that the goroutine at hand makes, if it is one: what its register says is looked up and nothing more.
static __always_inline struct call *call_of_routine(__u64 thread)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct go_key key = { .pid = thread >> 32 };
#if defined(__TARGET_ARCH_x86)
	key.routine = regs->r14;
#else
	key.routine = regs->user_regs.regs[28];
#endif
	return bpf_map_lookup_elem(&go_calls, &key);
}

// Whether the thread or goroutine at hand is in a TLS call, which now knows its socket.
static __always_inline bool in_call(struct sock *sk, __u64 thread)
{
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	if (!call && targeted(sk->sk_cgrp_data.cgroup->kn->id))
		call = call_of_routine(thread);
	if (!call)
		return false;
	if (!call->ends.family && sk->sk_protocol == IPPROTO_TCP && read_ends(sk, &call->ends))
		call->ends.how = NESTED;
	return true;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_sends, struct sock *sk, int ret, int flags)
{
	if (!enabled)
		return 0;
	in_call(sk, bpf_get_current_pid_tgid());
	if (ret > 0 && targeted(sk->sk_cgrp_data.cgroup->kn->id))
		used(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_receives, struct sock *sk, int ret, int flags)
{
	if (!enabled)
		return 0;
	__u64 thread = bpf_get_current_pid_tgid();
	bool called = in_call(sk, thread);
	if (ret <= 0 || !targeted(sk->sk_cgrp_data.cgroup->kn->id))
		return 0;
	used(sk);
	if (called || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct ends ends;
	if (read_ends(sk, &ends)) {
		ends.how = RECEIVED_BEFORE;
		bpf_map_update_elem(&received, &thread, &ends, BPF_ANY);
	}
	return 0;
}

static __always_inline __u64 process_started(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	return task->group_leader->start_time;
}

static __always_inline int enter(struct pt_regs *ctx, __u64 session, __u64 buffer, __u64 length_at, __u32 direction)
{
	if (!wanted())
		return 0;
	__u64 thread = bpf_get_current_pid_tgid();
	if (direction == HANDSHAKE) {
		// One that a read or write begins by itself is part of it.
		struct call *outer = bpf_map_lookup_elem(&calls, &thread);
		if (outer && outer->session == session && outer->direction != HANDSHAKE && outer->stack > PT_REGS_SP(ctx))
			return 0;
	} else {
		count(CALLS, 1);
	}
	struct call call = {
		.session = session, .buffer = buffer, .length_at = length_at, .stack = PT_REGS_SP(ctx),
		.direction = direction, .started = process_started(),
	};
	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

// Copies `LENGTH` bytes straight into the ring; -1 if there is no room, 0 if they can't be read.
#define PIECE(ROOM)                                                                              \
	do {                                                                                     \
		struct piece {                                                                   \
			struct head h;                                                           \
			__u8 data[ROOM];                                                         \
		} *piece = bpf_ringbuf_reserve(&events, sizeof(*piece), 0);                      \
		if (!piece)                                                                      \
			return -1;                                                               \
		barrier_var(length);                                                             \
		if (length > ROOM || bpf_probe_read_user(piece->data, length, (void *)from)) {   \
			bpf_ringbuf_discard(piece, 0);                                           \
			return 0;                                                                \
		}                                                                                \
		describe(&piece->h, call, offset, length);                                       \
		bpf_ringbuf_submit(piece, 0);                                                    \
		return length;                                                                   \
	} while (0)

static __always_inline void describe(struct head *h, const struct call *call, __u64 offset, __u32 length)
{
	fill(h, PLAINTEXT);
	h->session = call->session;
	h->offset = offset;
	h->seen = call->seen;
	h->len = length;
	h->sent = call->direction == SENDS;
	h->role = call->role;
	h->flags = call->flags;
	h->ends = call->ends;
}

// The first of the bytes that are left, as one event; how many those were. Not static, so that the verifier looks at
// it once and not wherever the loop comes by. The room comes in sizes because the ring wants to know it beforehand.
__noinline int first_piece(__u64 from, __u64 offset, __u64 left)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	if (!call)
		return 0;
	__u32 length = left > 16384 ? 16384 : left;
	if (length <= 128)
		PIECE(128);
	if (length <= 384)
		PIECE(384);
	if (length <= 896)
		PIECE(896);
	if (length <= 1920)
		PIECE(1920);
	if (length <= 4096)
		PIECE(4096);
	if (length <= 8192)
		PIECE(8192);
	PIECE(16384);
}

// One call's bytes, in order. At 16 KiB a piece, 64 MiB: what lies beyond is counted, and seen as a gap.
#define PIECES_PER_CALL 4096

static __always_inline void hand_on(const struct call *call, __u64 offset, __u64 length)
{
	__u64 done = 0;
	for (int i = 0; i < PIECES_PER_CALL && done < length; i++) {
		int n = first_piece(call->buffer + done, offset + done, length - done);
		if (n > 0) {
			count(PIECES, 1);
			count(BYTES, n);
			done += n;
			continue;
		}
		if (n < 0)	// no room: trying again would only cost the traced program time
			count(LOST_PIECES, 1);
		else
			count(FAULTS, 1);
		count(LOST_BYTES, length - done);
		return;
	}
	if (done < length)
		count(CUT_BYTES, length - done);
}

static __always_inline struct session *session_of(const struct session_key *key, __u64 started, bool *known)
{
	struct session *session = bpf_map_lookup_elem(&sessions, key);
	*known = session && session->started == started;
	if (*known)
		return session;
	struct session fresh = { .started = started };
	bpf_map_update_elem(&sessions, key, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&sessions, key);
}

static __always_inline void bind(struct session *session, const struct ends *ends)
{
	if (session->ends.family) {
		session->offsets[0] = session->offsets[1] = 0;
		session->flags = 0;
		count(REBOUND, 1);
	}
	session->ends = *ends;
	struct owner *owner = bpf_map_lookup_elem(&owners, &ends->sock);
	session->role = owner ? owner->role : UNKNOWN;
}

static __always_inline void leave(struct pt_regs *ctx, struct call *call, __u64 thread)
{
	struct session_key key = { .session = call->session, .pid = thread >> 32 };
	bool known;
	struct session *session = session_of(&key, call->started, &known);
	if (!session)
		return;
	__s64 result = (__s32)PT_REGS_RC(ctx);
	if (call->ends.family) {
		if (!same_socket(&session->ends, &call->ends))
			bind(session, &call->ends);
	} else if (!call->by_routine) {
		struct ends *before = bpf_map_lookup_elem(&received, &thread);
		if (before) {
			// A client's first call has read nothing: what was received before belongs to something else.
			bool fits = known || (call->direction == RECEIVES && result > 0);
			if (fits && !session->ends.family)
				bind(session, before);
			else if (call->direction == RECEIVES && result > 0 && session->ends.how == RECEIVED_BEFORE &&
				 !same_socket(&session->ends, before))
				bind(session, before);
			bpf_map_delete_elem(&received, &thread);
		}
	}
	if (call->direction == HANDSHAKE) {
		// Seen before anything was said: what follows is the whole conversation.
		if (!session->offsets[0] && !session->offsets[1])
			session->flags |= FROM_START;
		return;
	}
	__u64 length = result > 0 ? result : 0;
	if (call->length_at) {
		length = 0;
		if (result == 1 && bpf_probe_read_user(&length, sizeof(length), (void *)call->length_at))
			count(FAULTS, 1);
	}
	if (!length)
		return;
	if (!session->ends.family)
		count(UNBOUND, 1);
	call->ends = session->ends;
	call->role = session->role;
	call->flags = session->flags;
	call->seen = session->offsets[call->direction != SENDS];
	__u64 *offset = &session->offsets[call->direction == SENDS];
	__u64 from = *offset;
	*offset += length;
	if (wanted())
		hand_on(call, from, length);
}

SEC("uretprobe")
int tls_return(struct pt_regs *ctx)
{
	if (!enabled)
		return 0;
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	if (!call) {
		if (wanted())
			count(ORPHANS, 1);
		return 0;
	}
	// On x86 the return address is off the stack by now.
	__u64 stack = PT_REGS_SP(ctx);
#if defined(__TARGET_ARCH_x86)
	stack -= 8;
#endif
	if (stack != call->stack)	// of another call, within this one
		return 0;
	leave(ctx, call, thread);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

SEC("uprobe")
int BPF_KPROBE(tls_write, void *session, void *buffer)
{
	return enter(ctx, (__u64)session, (__u64)buffer, 0, SENDS);
}

SEC("uprobe")
int BPF_KPROBE(tls_read, void *session, void *buffer)
{
	return enter(ctx, (__u64)session, (__u64)buffer, 0, RECEIVES);
}

SEC("uprobe")
int BPF_KPROBE(tls_write_ex, void *session, void *buffer, __u64 size, void *written)
{
	return enter(ctx, (__u64)session, (__u64)buffer, (__u64)written, SENDS);
}

SEC("uprobe")
int BPF_KPROBE(tls_read_ex, void *session, void *buffer, __u64 size, void *read)
{
	return enter(ctx, (__u64)session, (__u64)buffer, (__u64)read, RECEIVES);
}

SEC("uprobe")
int BPF_KPROBE(tls_handshake, void *session)
{
	return enter(ctx, (__u64)session, 0, 0, HANDSHAKE);
}

SEC("uprobe")
int BPF_KPROBE(tls_free, void *session)
{
	struct session_key key = { .session = (__u64)session, .pid = bpf_get_current_pid_tgid() >> 32 };
	bpf_map_delete_elem(&sessions, &key);
	return 0;
}
