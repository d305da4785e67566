#pragma once
// What crosses to user space; `src/abi.rs` reads it, and has the same sizes and numbers.

enum kind { PLAINTEXT = 1, CONNECT, ACCEPT, OPEN, CLOSE, EXEC };
enum role { UNKNOWN, CLIENT, SERVER };
enum flag { FROM_START = 1 };

enum counter {
	CALLS,		// TLS reads and writes of targeted processes
	PIECES,		// events of plaintext handed to the reader
	BYTES,		// bytes in them
	LOST_PIECES,	// events lost because the reader was behind
	LOST_BYTES,	// bytes of plaintext in them
	CUT_BYTES,	// bytes of single calls beyond what one probe may copy
	FAULTS,		// plaintext that had been paged out
	UNBOUND,	// calls whose socket is not known
	ORPHANS,	// returns without their call: it began before the probe was there
	REBOUND,	// sockets that changed under a TLS object
	COUNTERS,
};

// A socket, as its process sees it.
struct ends {
	__u8 local[16], remote[16];	// IPv4 in the first four bytes
	__u16 local_port, remote_port;
	__u16 family;			// 0: not known
	__u8 how, unused;		// see enum how in tls.h
	__u32 netns;
	__u32 unused2;
	__u64 cgroup;			// the socket's own, right in interrupts too
	__u64 sock;			// its address in the kernel, as an identity
};

struct head {
	__u64 ts;			// CLOCK_MONOTONIC
	__u64 cgroup;			// the process's
	__u64 session;			// the TLS object's address in its process
	__u64 offset;			// of these bytes in their direction's stream
	__u64 seen;			// how far the other direction had come
	__u32 pid, tid;
	__u32 len;			// bytes that follow
	__u8 kind, sent, role, flags;
	char comm[16];
	struct ends ends;
};

_Static_assert(sizeof(struct ends) == 64, "src/abi.rs says the same");
_Static_assert(sizeof(struct head) == 136, "src/abi.rs says the same");
