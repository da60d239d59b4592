// What goes wrong with files, in words that the Python side turns into a remedy.
#ifndef NANOLAKE_TRAP_H
#define NANOLAKE_TRAP_H

#include <TError.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace nanolake {
// A problem with one file; `kind` is a word that the Python side turns into a remedy.
struct FileProblem : std::runtime_error {
   std::string kind, file;
   FileProblem(std::string k, std::string f, const std::string &what)
      : std::runtime_error(what), kind(std::move(k)), file(std::move(f))
   {
   }
};

// A JSON string, for a result that must be written when nothing else works any more.
inline std::string Quoted(const std::string &text)
{
   std::string out = "\"";
   for (const char c : text)
      if (c == '"' || c == '\\')
         out += std::string("\\") + c;
      else
         out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
   return out + "\"";
}

// ROOT reports a corrupt basket, a failed read or a full disk as a message and goes on with what is
// in memory. Here the first error message is kept, and Check() turns it into an exception. In an
// event loop that is too late, as garbage may crash the loop, and where storage hangs every further
// call, were it only to close the file, would wait for it again: after Guard() the first error
// message ends the process, its problem written as the result of the task.
class ErrorTrap {
   struct State {
      std::string where, what, doing, file;
   };
   static State &Get()
   {
      static State state;
      return state;
   }
   static bool OnNetwork()
   {
      const auto &where = Get().where; // Init is ROOT's own look into the file
      return where.rfind("TNetXNGFile", 0) == 0 && where != "TNetXNGFile::Init";
   }
   static std::string Problem()
   {
      const auto said = Get().where + ": " + Get().what;
      if (Get().doing != "opening")
         return "error while " + Get().doing + ": " + said;
      return std::string("it cannot be opened ") + (OnNetwork() ? "(" : "as a ROOT file (") + said + ")";
   }
   static std::string Kind()
   {
      const auto &[where, what, doing, file] = Get();
      const auto says = [&what = what](const char *word) { return what.find(word) != std::string::npos; };
      if (OnNetwork()) {
         // kXR_NotAuthorized, kXR_AuthFailed, and what the client says where it has no credential
         for (const char *word : {"[3010]", "[3030]", "Auth failed", "Permission denied", "permission denied"})
            if (says(word))
               return "credential";
         return "storage";
      }
      if (says("truncated"))
         return "truncated";
      return doing == "opening" ? "unreadable" : doing == "writing" ? "unwritable" : "corrupt";
   }
   static void Handle(int level, Bool_t abort, const char *where, const char *what)
   {
      // Not with a stack trace and an abort: an array that is too short is what damage looks like.
      DefaultErrorHandler(level, abort && Get().doing.empty(), where, what);
      // What is closed has been read: storage that hangs or dies now spoils nothing.
      if (level < kError || (where && std::strcmp(where, "TNetXNGFile::Close") == 0))
         return;
      static std::mutex mutex; // threads that read ahead may fail together
      const std::lock_guard<std::mutex> lock(mutex);
      if (!Get().what.empty())
         return;
      Get().where = where ? where : "";
      Get().what = what ? what : "";
      if (Get().doing.empty())
         return;
      std::printf("{\"problem\": {\"kind\": \"%s\", \"file\": %s, \"what\": %s}}\n", Kind().c_str(),
                  Quoted(Get().file).c_str(), Quoted(Problem()).c_str());
      std::fflush(stdout);
      std::_Exit(1);
   }
   ErrorHandlerFunc_t fPrevious;

public:
   ErrorTrap() : fPrevious(SetErrorHandler(Handle)) { Get() = {}; }
   ~ErrorTrap() { SetErrorHandler(fPrevious); }
   ErrorTrap(const ErrorTrap &) = delete;
   static void Guard(const std::string &doing, const std::string &file)
   {
      Check(doing, file);
      Get().doing = doing;
      Get().file = file;
   }
   static void Check(const std::string &doing, const std::string &file)
   {
      if (Get().what.empty())
         return;
      Get().doing = doing;
      throw FileProblem(Kind(), file, Problem());
   }
};
} // namespace nanolake
#endif
