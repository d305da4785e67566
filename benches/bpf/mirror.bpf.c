// What a capture by a program at the interface would be (tcx): each packet, cut, is put into a ring.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MOST 2048

struct packet {
	__u64 ts;
	__u32 wire_len, captured;
	__u8 data[MOST];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

SEC("classifier")
int mirror(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct packet *it = bpf_map_lookup_elem(&scratch, &zero);
	__u64 *lost = bpf_map_lookup_elem(&dropped, &zero);
	__u32 length = skb->len;
	if (!it || !lost || length < 1)
		return -1;
	if (length > MOST)
		length = MOST;
	it->ts = bpf_ktime_get_ns();
	it->wire_len = skb->len;
	it->captured = length;
	if (bpf_skb_load_bytes(skb, 0, it->data, length))
		return -1;
	// Nobody is woken: the reader looks every few milliseconds, which is the cheapest of all.
	__u64 size = __builtin_offsetof(struct packet, data) + length;
	if (bpf_ringbuf_output(&packets, it, size, BPF_RB_NO_WAKEUP))
		*lost += 1;
	return -1; // what comes next at this place
}
