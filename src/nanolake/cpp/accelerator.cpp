// libdeflate behind zlib. ROOT decompresses a basket with one inflate(Z_FINISH) on whole buffers,
// which libdeflate does 2-3 times faster. The program's own `inflate` is found before that of
// libz, and passes on to it whatever libdeflate does not take: no libdeflate on the machine,
// NANOLAKE_ACCELERATOR=off, a stream in pieces, or data that do not decompress (libz then
// reports what is wrong with them).

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

namespace {
// The documented layout of zlib's z_stream; its header need not be installed.
struct Stream {
   const unsigned char *next_in;
   unsigned int avail_in;
   unsigned long total_in;
   unsigned char *next_out;
   unsigned int avail_out;
   unsigned long total_out;
};
constexpr int kFinish = 4, kStreamEnd = 1;

using Inflate = int (*)(Stream *, int);
using Decompress = int (*)(void *, const void *, std::size_t, void *, std::size_t, std::size_t *, std::size_t *);

struct Library {
   Decompress decompress = nullptr;
   void *decompressor = nullptr;

   Library()
   {
      const char *wish = std::getenv("NANOLAKE_ACCELERATOR");
      if (wish && std::strcmp(wish, "off") == 0)
         return;
      void *library = dlopen("libdeflate.so.0", RTLD_NOW | RTLD_LOCAL);
      if (!library)
         return;
      const auto allocate = reinterpret_cast<void *(*)()>(dlsym(library, "libdeflate_alloc_decompressor"));
      decompress = reinterpret_cast<Decompress>(dlsym(library, "libdeflate_zlib_decompress_ex"));
      decompressor = allocate && decompress ? allocate() : nullptr;
   }
};

Library &Get()
{
   thread_local Library library;
   return library;
}
} // namespace

bool AcceleratorIsOn()
{
   return Get().decompressor != nullptr;
}

extern "C" int inflate(Stream *stream, int flush)
{
   if (flush == kFinish && stream->total_in == 0 && stream->total_out == 0 && AcceleratorIsOn()) {
      std::size_t in = 0, out = 0;
      const int failed = Get().decompress(Get().decompressor, stream->next_in, stream->avail_in,
                                          stream->next_out, stream->avail_out, &in, &out);
      if (!failed) {
         stream->next_in += in;
         stream->avail_in -= in;
         stream->total_in += in;
         stream->next_out += out;
         stream->avail_out -= out;
         stream->total_out += out;
         return kStreamEnd;
      }
   }
   static const auto zlib = reinterpret_cast<Inflate>(dlsym(RTLD_NEXT, "inflate"));
   return zlib(stream, flush);
}
