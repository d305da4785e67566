#pragma once
// Go's crypto/tls. A goroutine makes the call, not a thread: it may park, and go on elsewhere. Its own structure (g)
// is in a register throughout, also while it is in the kernel, so the socket is found by that. Functions return in
// several places, each with a probe of its own: a return probe would put an address of its own onto a stack that Go
// moves. On x86 since Go 1.17: the first arguments and results are in AX, BX, CX, and g is in R14.
#if defined(__TARGET_ARCH_x86)
#define GO_CONN(ctx) ((ctx)->ax)
#define GO_BUFFER(ctx) ((ctx)->bx)
#define GO_ROUTINE(ctx) ((ctx)->r14)
#elif defined(__TARGET_ARCH_arm64)
#define GO_CONN(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define GO_BUFFER(ctx) (((struct user_pt_regs *)(ctx))->regs[1])
#define GO_ROUTINE(ctx) (((struct user_pt_regs *)(ctx))->regs[28])
#endif

static __always_inline int go_enter(struct pt_regs *ctx, __u32 direction)
{
	if (!wanted())
		return 0;
	struct go_key key = { .routine = GO_ROUTINE(ctx), .pid = bpf_get_current_pid_tgid() >> 32 };
	struct call call = {
		.session = GO_CONN(ctx), .buffer = GO_BUFFER(ctx), .direction = direction,
		.by_routine = 1, .started = process_started(),
	};
	if (direction == HANDSHAKE) {
		// What was known of this address was known of an earlier connection.
		struct session_key session = { .session = call.session, .pid = key.pid };
		bpf_map_delete_elem(&sessions, &session);
		struct call *outer = bpf_map_lookup_elem(&go_calls, &key);
		if (outer && outer->session == call.session && outer->direction != HANDSHAKE)
			return 0;
	} else {
		count(CALLS, 1);
	}
	bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY);
	return 0;
}

static __always_inline int go_leave(struct pt_regs *ctx, bool handshake)
{
	if (!enabled)
		return 0;
	__u64 thread = bpf_get_current_pid_tgid();
	struct go_key key = { .routine = GO_ROUTINE(ctx), .pid = thread >> 32 };
	struct call *call = bpf_map_lookup_elem(&go_calls, &key);
	if (!call) {
		if (!handshake && wanted())
			count(ORPHANS, 1);
		return 0;
	}
	if ((call->direction == HANDSHAKE) != handshake)
		return 0;
	// From here on this thread makes the call.
	bpf_map_update_elem(&calls, &thread, call, BPF_ANY);
	bpf_map_delete_elem(&go_calls, &key);
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call)
		leave(ctx, call, thread);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

SEC("uprobe")
int go_write(struct pt_regs *ctx)
{
	return go_enter(ctx, SENDS);
}

SEC("uprobe")
int go_read(struct pt_regs *ctx)
{
	return go_enter(ctx, RECEIVES);
}

SEC("uprobe")
int go_handshake(struct pt_regs *ctx)
{
	return go_enter(ctx, HANDSHAKE);
}

SEC("uprobe")
int go_return(struct pt_regs *ctx)
{
	return go_leave(ctx, false);
}

SEC("uprobe")
int go_shaken(struct pt_regs *ctx)
{
	return go_leave(ctx, true);
}
