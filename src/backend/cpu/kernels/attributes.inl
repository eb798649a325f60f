// What the kernel sets built on x86 vectors ask of the compiler.

#define SERVAL_INLINE inline __attribute__((always_inline))
#define SERVAL_NOINLINE __attribute__((noinline))
#if defined(__clang__)
#define SERVAL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SERVAL_UNROLL _Pragma("GCC unroll 16")
#endif
