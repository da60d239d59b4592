// The event loop of a skim: columns of a TTree read, and rows written, a basket at a time.
//
// RDataFrame asks every branch for every event and pays 10-20 ns each time, which is several times
// what decompression costs; here a basket is decompressed and byte-swapped as a whole, and only if
// an event that got so far in the selection asks for its column. Measured: 2-3 times fewer CPU
// seconds a unit than the same graph as compiled RDataFrame, same values (benchmarks/README.md).
#ifndef NANOLAKE_EVENT_LOOP_H
#define NANOLAKE_EVENT_LOOP_H

#include "trust.h"

#include <Math/Vector4D.h>
#include <ROOT/RVec.hxx>
#include <TBasket.h>
#include <TBranch.h>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <type_traits>

using ROOT::RVec;

namespace nanolake {
// Reverse the bytes of n words (swap.cpp).
void SwapBytes(const char *from, UInt_t *to, std::size_t n);
void SwapBytes(const char *from, ULong64_t *to, std::size_t n);

// Values as ROOT keeps them on disk, big-endian, into memory.
template <typename T>
void FromDisk(const char *from, T *to, std::size_t n)
{
   static_assert(sizeof(T) == 1 || sizeof(T) == 4 || sizeof(T) == 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
   if constexpr (sizeof(T) > 1)
      SwapBytes(from, reinterpret_cast<std::conditional_t<sizeof(T) == 4, UInt_t, ULong64_t> *>(to), n);
   else
#endif
      std::memcpy(to, from, n * sizeof(T));
}

// Finds the basket of an entry; remembers which entries it holds.
class Cursor {
protected:
   TBranch *fBranch = nullptr;
   Long64_t fFirst = 0, fEnd = 0;

   bool Outside(Long64_t entry) const { return entry >= fEnd || entry < fFirst; }

   TBasket &Basket(Long64_t entry)
   {
      const Long64_t *starts = fBranch->GetBasketEntry();
      const int number = fBranch->GetWriteBasket(); // baskets on disk; the next may be in memory
      const int i = std::upper_bound(starts, starts + number + 1, entry) - starts - 1;
      fBranch->GetTree()->LoadTree(entry); // tells the cache of a remote file where we are
      TBasket *basket = i < 0 ? nullptr : fBranch->GetBasket(i);
      if (!basket)
         throw FileProblem("corrupt", fBranch->GetTree()->GetCurrentFile()->GetName(),
                           std::string("a basket of ") + fBranch->GetName() + " cannot be read");
      fFirst = starts[i];
      fEnd = i < number ? starts[i + 1] : fBranch->GetEntries();
      return *basket;
   }

   // A basket must hold as many bytes as its entries need: never read behind its end.
   void Expect(bool good) const
   {
      if (!good)
         throw FileProblem("corrupt", fBranch->GetTree()->GetCurrentFile()->GetName(),
                           std::string("a basket of ") + fBranch->GetName() + " has the wrong length");
   }

public:
   void Bind(TTree &tree, const char *name)
   {
      fBranch = tree.GetBranch(name);
      fFirst = fEnd = 0;
   }
};

// A column of the input. At(entry) is valid until the next call.
template <typename T>
class Column : Cursor {
   std::vector<std::conditional_t<std::is_same_v<T, bool>, char, T>> fValues;

   __attribute__((noinline)) void Load(Long64_t entry)
   {
      TBasket &basket = Basket(entry);
      const std::size_t n = fEnd - fFirst;
      Expect(basket.GetLast() - basket.GetKeylen() == Long64_t(n * sizeof(T)));
      fValues.resize(n);
      FromDisk(basket.GetBufferRef()->Buffer() + basket.GetKeylen(), fValues.data(), n);
      fBranch->DropBaskets("all");
   }

public:
   using Cursor::Bind;
   T At(Long64_t entry)
   {
      if (Outside(entry))
         Load(entry);
      return fValues[entry - fFirst];
   }
};

template <typename T>
class Column<RVec<T>> : Cursor {
   std::unique_ptr<T[]> fValues;
   std::size_t fCapacity = 0;
   std::vector<int> fOffsets;
   RVec<T> fView;

   __attribute__((noinline)) void Load(Long64_t entry)
   {
      TBasket &basket = Basket(entry);
      const int key = basket.GetKeylen(), bytes = basket.GetLast() - key;
      const std::size_t n = bytes / sizeof(T), entries = fEnd - fFirst;
      const int *offsets = basket.GetEntryOffset();
      Expect(offsets && bytes >= 0 && bytes % sizeof(T) == 0);
      if (n + 1 > fCapacity) {
         fCapacity = n + n / 4 + 1;
         fValues.reset(new T[fCapacity]);
      }
      FromDisk(basket.GetBufferRef()->Buffer() + key, fValues.get(), n);
      fOffsets.resize(entries + 1);
      fOffsets[entries] = n;
      bool good = true;
      for (std::size_t i = entries; i-- > 0;) {
         fOffsets[i] = (offsets[i] - key) / int(sizeof(T));
         good &= fOffsets[i] >= 0 && fOffsets[i] <= fOffsets[i + 1];
      }
      Expect(good);
      fBranch->DropBaskets("all");
   }

public:
   using Cursor::Bind;
   const RVec<T> &At(Long64_t entry)
   {
      if (Outside(entry))
         Load(entry);
      const int *offset = &fOffsets[entry - fFirst];
      // An RVec over memory that it does not own: nothing is copied.
      fView.~RVec();
      new (&fView) RVec<T>(fValues.get() + offset[0], offset[1] - offset[0]);
      return fView;
   }
};

template <typename T>
constexpr char LeafLetter()
{
   static_assert(std::is_arithmetic_v<T>, "kept columns are numbers");
   if constexpr (std::is_same_v<T, bool>)
      return 'O';
   else if constexpr (std::is_floating_point_v<T>)
      return sizeof(T) == 4 ? 'F' : 'D';
   else if constexpr (sizeof(T) == 4)
      return std::is_signed_v<T> ? 'I' : 'i';
   else
      return std::is_signed_v<T> ? 'L' : 'l';
}

template <typename... T>
struct Types {};

// Opens the number of entries of a basket, which TBasket only counts up one by one.
struct BasketAccess : TBasket {
   static constexpr Int_t TBasket::*kEntries = &BasketAccess::fNevBuf;
};

// Rows of numbers, written a cluster at a time: one basket a branch.
template <typename... T>
class Rows {
   template <typename X>
   using Store = std::unique_ptr<X[]>;
   static constexpr std::size_t kCluster = 100000;

   std::tuple<Store<T>...> fColumns{Store<T>(new T[kCluster])...}; // memory is touched when filled
   std::vector<TBranch *> fBranches;
   TTree *fTree; // owned by its file
   std::size_t fRows = 0;

   template <typename X>
   void Write(TBranch &branch, Store<X> &column)
   {
      branch.SetAddress(column.get());
      branch.SetBasketSize(fRows * sizeof(X) + 8192);
      branch.Fill(); // makes the basket, with the first value in it
      auto *basket =
         static_cast<TBasket *>(branch.GetListOfBaskets()->UncheckedAt(branch.GetWriteBasket()));
      basket->*BasketAccess::kEntries += fRows - 1;
      basket->GetBufferRef()->WriteFastArray(column.get() + 1, fRows - 1);
      branch.SetEntries(fTree->GetEntries() + fRows);
   }

   void Flush()
   {
      if (!fRows)
         return;
      auto branch = fBranches.begin();
      std::apply([&](auto &...columns) { (Write(**branch++, columns), ...); }, fColumns);
      fTree->SetEntries(fTree->GetEntries() + fRows);
      fTree->FlushBaskets();
      fRows = 0;
   }

   template <std::size_t... I>
   void Push(std::index_sequence<I...>, const T &...values)
   {
      ((std::get<I>(fColumns)[fRows] = values), ...);
   }

public:
   Rows(const char *name, TFile &file, const std::vector<const char *> &names)
      : fTree(new TTree(name, name, 99, &file))
   {
      static ULong64_t nothing;
      fTree->SetAutoFlush(kCluster);
      fTree->SetAutoSave(0);
      auto next = names.begin();
      const auto add = [&](char letter) {
         const auto leaf = std::string(*next) + "/" + letter;
         fBranches.push_back(fTree->Branch(*next++, &nothing, leaf.c_str(), 32000));
         // To compress the many different values of a floating-point column takes longer than all
         // else that a unit does with its rows, and halves at most what the merge soon deletes;
         // integers shrink tenfold. The checksum of the file is in the ledger.
         fBranches.back()->SetCompressionLevel(letter == 'F' || letter == 'D' ? 0 : 1);
      };
      (add(LeafLetter<T>()), ...);
   }

   void Add(const T &...values)
   {
      Push(std::index_sequence_for<T...>{}, values...);
      if (++fRows == kCluster)
         Flush();
   }

   void Close()
   {
      Flush();
      fTree->GetDirectory()->WriteTObject(fTree);
   }
};

template <typename>
struct RowsOf;
template <typename... T>
struct RowsOf<Types<T...>> {
   using type = Rows<T...>;
};

// One channel of a running unit; Event is written by codegen.py.
template <typename T>
struct Channel {
   std::vector<std::pair<const char *, Long64_t>> steps; // of the cut flow
   typename RowsOf<T>::type rows;
};

using CutFlow = std::vector<std::pair<const char *, Long64_t>>;

// The loop over all channels of a unit, written by codegen.py for one kind of input.
struct Loop {
   virtual ~Loop() = default;
   // Entries [first, last) of a tree.
   virtual void Run(TTree &tree, Long64_t first, Long64_t last) = 0;
   // Write the trees; the cut flow of each channel.
   virtual std::map<std::string, CutFlow> Close() = 0;
};

using MakeLoop = std::unique_ptr<Loop> (*)(const std::vector<std::string> &channels, TFile &output);
} // namespace nanolake
#endif
