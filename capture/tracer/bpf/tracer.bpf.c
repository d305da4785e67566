// What the kernel runs for us: which process speaks on which socket, and what it gives to and gets from its
// TLS library. Nothing is looked at but the processes of targeted cgroups.
//
// Only hooks that are there on every kernel with BTF, whatever its configuration, are used: uprobes, and
// tracepoints with typed arguments. Their arguments are read directly, so `bpf_probe_read_kernel`, which a kernel
// locked down for confidentiality refuses, is not needed.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

// Some helpers (`bpf_get_current_task_btf`, `bpf_probe_read_user`) are given only to programs that declare a licence
// compatible with the GPL; this one may be used under either. No code under the GPL is part of it.
char LICENSE[] SEC("license") = "Dual MIT/GPL";

#include "shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 25);
} events SEC(".maps");

// Without an entry here nothing is traced.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// Off until there is a target, and whenever the reader says so.
volatile __u32 enabled;
// The reader itself is never traced: it would read what it has just written.
const volatile __u32 reader = 0;

static __always_inline void count(__u32 which, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);
	if (value)
		*value += n;
}

static __always_inline bool targeted(__u64 cgroup)
{
	return bpf_map_lookup_elem(&targets, &cgroup) != NULL;
}

// Whether the process at hand is to be traced.
static __always_inline bool wanted(void)
{
	if (!enabled || bpf_get_current_pid_tgid() >> 32 == reader)
		return false;
	return targeted(bpf_get_current_cgroup_id());
}

static __always_inline void fill(struct head *h, __u8 kind)
{
	__u64 id = bpf_get_current_pid_tgid();
	h->ts = bpf_ktime_get_ns();
	h->cgroup = bpf_get_current_cgroup_id();
	h->session = h->offset = h->seen = 0;
	h->pid = id >> 32;
	h->tid = (__u32)id;
	h->len = 0;
	h->kind = kind;
	h->sent = h->role = h->flags = 0;
	bpf_get_current_comm(h->comm, sizeof(h->comm));
}

#include "socket.h"
#include "tls.h"
#include "go.h"
