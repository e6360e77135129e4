// How a target tells when it started: it writes this to STAMP_FD and exits with the number of its cpu.
// A low descriptor, since the fd table is copied up to the highest one.
#ifndef STAMP_H
#define STAMP_H
#define STAMP_FD 9
struct stamp { long long ns; };
#endif
