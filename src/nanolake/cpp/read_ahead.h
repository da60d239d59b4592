// Reading over a network: the baskets of a range of entries arrive while the loop works on earlier
// ones. TTreeCache asks for the next lot when it has used up the last, and waits for it: a third of
// a unit's time at 20 ms of round trip.
#ifndef NANOLAKE_READ_AHEAD_H
#define NANOLAKE_READ_AHEAD_H

#include "remote.h"

#include <TBranch.h>
#include <TFile.h>
#include <TFileCacheRead.h>
#include <TTree.h>

#include <algorithm>
#include <future>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace nanolake {
// Serves TFile::ReadBuffer from blocks of baskets, each fetched by one vector read in a thread.
class ReadAhead final : public TFileCacheRead {
   static constexpr Long64_t kFirst = 1 << 20, kLargest = 4 << 20; // bytes of a block, which double
   static constexpr std::size_t kMostAhead = 8, kHeld = 12;        // blocks
   static constexpr double kSlow = 5; // seconds; XRD_REQUESTTIMEOUT ends a request that takes much longer

   struct Basket {
      Long64_t entry, end, position;
      Int_t bytes;
   };
   struct Block {
      std::vector<Long64_t> positions; // ascending
      std::vector<Int_t> lengths;
      Long64_t bytes = 0, end = 0; // end: the entry behind its last basket
      std::vector<char> content;
      double seconds = 0; // that it took
      std::future<bool> failed;
   };

   TFile &fSource;
   TTree &fTree;
   TFileCacheRead *fBefore;
   std::vector<Block> fBlocks; // in the order of their entries: [dropped, fetched) are in memory
   std::size_t fDropped = 0, fFetched = 0, fAhead = 3;
   std::unordered_map<Long64_t, std::pair<std::size_t, Long64_t>> fPlaces; // position to block, offset
   std::vector<std::vector<char>> fSpare; // memory is touched once
   Long64_t fBytes = 0, fRequests = 0;

   std::vector<Basket> Baskets(const std::vector<std::string> &columns, Long64_t first, Long64_t last) const
   {
      std::vector<Basket> baskets;
      for (const auto &name : columns) {
         TBranch &branch = *fTree.GetBranch(name.c_str());
         const Int_t number = branch.GetWriteBasket();
         const Long64_t *starts = branch.GetBasketEntry();
         for (Int_t i = 0; i < number; ++i) {
            const Long64_t end = i + 1 < number ? starts[i + 1] : branch.GetEntries();
            if (starts[i] < last && end > first)
               baskets.push_back({starts[i], end, branch.GetBasketSeek(i), branch.GetBasketBytes()[i]});
         }
      }
      std::sort(baskets.begin(), baskets.end(), [](const Basket &a, const Basket &b) {
         return std::pair(a.entry, a.position) < std::pair(b.entry, b.position);
      });
      return baskets;
   }

   void Divide(std::vector<Basket> baskets)
   {
      Long64_t limit = kFirst;
      for (auto from = baskets.begin(); from != baskets.end(); limit = std::min(2 * limit, kLargest)) {
         Block block;
         auto to = from;
         for (; to != baskets.end() && block.bytes < limit; ++to) {
            block.bytes += to->bytes;
            block.end = std::max(block.end, to->end);
         }
         std::sort(from, to, [](const Basket &a, const Basket &b) { return a.position < b.position; });
         for (Long64_t offset = 0; from != to; offset += from++->bytes) {
            block.positions.push_back(from->position);
            block.lengths.push_back(from->bytes);
            fPlaces[from->position] = {fBlocks.size(), offset};
         }
         fBlocks.push_back(std::move(block));
      }
   }

   void Fetch()
   {
      Block &block = fBlocks[fFetched++];
      if (!fSpare.empty()) {
         block.content = std::move(fSpare.back());
         fSpare.pop_back();
      }
      block.content.resize(block.bytes);
      block.failed = std::async(std::launch::async, [this, &block] {
         const auto start = Clock::now();
         const bool failed = fSource.ReadBuffers(block.content.data(), block.positions.data(),
                                                 block.lengths.data(), block.positions.size());
         block.seconds = Since(start);
         return failed;
      });
      fBytes += block.bytes;
      ++fRequests;
   }

   void Drop()
   {
      Block &block = fBlocks[fDropped++];
      if (block.failed.valid())
         block.failed.wait();
      fSpare.push_back(std::move(block.content));
   }

public:
   // For the entries [first, last) of a tree, whose file serves itself from here from now on.
   ReadAhead(TFile &file, TTree &tree, const std::vector<std::string> &columns, Long64_t first, Long64_t last)
      : fSource(file), fTree(tree), fBefore(file.GetCacheRead())
   {
      tree.SetCacheSize(0); // no TTreeCache beside it
      Divide(Baskets(columns, first, last));
      while (fFetched < std::min(fAhead, fBlocks.size()))
         Fetch();
      file.SetCacheRead(this);
   }
   ~ReadAhead() override { fSource.SetCacheRead(fBefore); }

   Long64_t Bytes() const { return fBytes; }
   Long64_t Requests() const { return fRequests; }

   // 1: served; 0: not here, ROOT reads it itself; -1: it cannot be read.
   Int_t ReadBuffer(char *buffer, Long64_t position, Int_t length) override
   {
      while (fDropped < fFetched && (fBlocks[fDropped].end <= fTree.GetReadEntry() || fFetched - fDropped > kHeld))
         Drop();
      const auto place = fPlaces.find(position);
      if (place == fPlaces.end() || place->second.first < fDropped) {
         fBytes += length;
         ++fRequests;
         return 0;
      }
      const auto [number, offset] = place->second;
      while (fFetched < std::min(number + fAhead, fBlocks.size()))
         Fetch();
      Block &block = fBlocks[number];
      if (block.failed.valid()) { // used for the first time
         if (block.failed.get())
            return -1;
         fAhead = block.seconds < kSlow ? std::min(fAhead + 1, kMostAhead) : std::max<std::size_t>(fAhead / 2, 1);
      }
      std::copy_n(block.content.data() + offset, length, buffer);
      return 1;
   }
};
} // namespace nanolake
#endif
