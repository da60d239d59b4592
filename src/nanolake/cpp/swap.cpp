// Byte swapping of whole baskets. Where the processor can, four or eight words at a time: chosen when
// the program starts, so that it runs on any machine. Integers only, so no bit depends on it.

#include <cstddef>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define NANOLAKE_FAST __attribute__((optimize("O3"), target_clones("avx2", "default")))
#else
#define NANOLAKE_FAST
#endif

namespace nanolake {
NANOLAKE_FAST void SwapBytes(const char *from, unsigned int *to, std::size_t n)
{
   std::memcpy(to, from, n * sizeof(*to));
   for (std::size_t i = 0; i < n; ++i)
      to[i] = __builtin_bswap32(to[i]);
}

NANOLAKE_FAST void SwapBytes(const char *from, unsigned long long *to, std::size_t n)
{
   std::memcpy(to, from, n * sizeof(*to));
   for (std::size_t i = 0; i < n; ++i)
      to[i] = __builtin_bswap64(to[i]);
}
} // namespace nanolake
