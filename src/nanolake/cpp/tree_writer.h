// Writes flat numpy arrays as a TTree of C-style variable-length leaves, a cluster at a time.
// Kept tiny: cling compiles it at the start of every generator job.
//
// TTree::Fill costs 0.1 us a branch and event, more than compression. A whole column goes into its
// basket here with one byte-swapping copy; only the first entry of a basket takes the usual way,
// which creates and prepares the basket.
#ifndef NANOLAKE_TREE_WRITER_H
#define NANOLAKE_TREE_WRITER_H

#include "TBasket.h"
#include "TBranch.h"
#include "TBuffer.h"
#include "TArrayC.h"
#include "TFile.h"
#include "TKey.h"
#include "TLeafI.h"
#include "TList.h"
#include "TROOT.h"
#include "TTree.h"
#include "TVirtualStreamerInfo.h"

// The loops over entries: a sixth of the writing time without compression.
#pragma cling optimize(2)

namespace nanolake {

// A file whose class descriptions are in alphabetical order. ROOT orders them by their first use in
// the process, so that the bytes would depend on what the process did before.
struct OrderedFile : public TFile {
   using TFile::TFile;

   void WriteStreamerInfo() override
   {
      if (!IsWritable() || !fClassIndex || (fClassIndex->fArray[0] == 0 && fSeekInfo != 0))
         return;
      TList list;
      for (TObject *object : *gROOT->GetListOfStreamerInfo()) {
         auto *info = static_cast<TVirtualStreamerInfo *>(object);
         if (info && fClassIndex->fArray[info->GetNumber()])
            list.Add(info);
      }
      if (list.IsEmpty())
         return;
      list.Sort();
      fClassIndex->fArray[0] = 2; // describing classes must not mark further ones
      if (fSeekInfo)
         MakeFree(fSeekInfo, fSeekInfo + fNbytesInfo - 1);
      TKey key(&list, "StreamerInfo", GetBestBuffer(), this);
      fKeys->Remove(&key);
      fSeekInfo = key.GetSeekKey();
      fNbytesInfo = key.GetNbytes();
      SumBuffer(key.GetObjlen());
      key.WriteFile(0);
      fClassIndex->fArray[0] = 0;
   }
};

struct TreeWriter {
   OrderedFile file;
   TTree *tree = nullptr;
   TBranch *branches[128];
   char letters[128];
   long counters[128]; // position of the branch that holds the length, -1 for a scalar
   long n = 0;

   TreeWriter(const char *url, const char *name, int compression, long clusterEvents)
      : file(url, "RECREATE", "", compression)
   {
      if (file.IsZombie())
         return;
      tree = new TTree(name, name, 99, &file);
      tree->SetAutoFlush(clusterEvents);
      tree->SetAutoSave(0);
   }

   void Add(const char *name, const char *leaf, char letter, long counter)
   {
      static unsigned long long nothing[16];
      branches[n] = tree->Branch(name, nothing, leaf, 32000);
      letters[n] = letter;
      counters[n++] = counter;
   }

   static void Append(TBuffer &buffer, char letter, const void *data, long length)
   {
      if (letter == 'O')
         buffer.WriteFastArray(static_cast<const bool *>(data), length);
      else if (letter == 'l')
         buffer.WriteFastArray(static_cast<const ULong64_t *>(data), length);
      else if (letter == 'F')
         buffer.WriteFastArray(static_cast<const float *>(data), length);
      else
         buffer.WriteFastArray(static_cast<const int *>(data), length);
   }

   static long SizeOf(const unsigned *lengths, long entries)
   {
      long total = lengths ? 0 : entries;
      for (long i = 0; lengths && i < entries; ++i)
         total += lengths[i];
      return total;
   }

   // One cluster: data holds one flat array a branch, all of `entries` events. False on an error.
   bool Fill(const unsigned long *data, long entries)
   {
      const long first = tree->GetEntries();
      for (long c = 0; c < n; ++c) {
         TBranch &branch = *branches[c];
         char *values = reinterpret_cast<char *>(data[c]);
         const long size = letters[c] == 'O' ? 1 : letters[c] == 'l' ? 8 : 4;
         const auto *lengths = counters[c] < 0 ? nullptr : reinterpret_cast<const unsigned *>(data[counters[c]]);
         if (lengths)
            branches[counters[c]]->SetAddress(const_cast<unsigned *>(lengths));
         branch.SetAddress(values);
         // A cluster is one basket, however large.
         branch.SetBasketSize(SizeOf(lengths, entries) * size + 8192);
         if (branch.Fill() < 0)
            return false;
         auto *basket = static_cast<TBasket *>(branch.GetListOfBaskets()->UncheckedAt(branch.GetWriteBasket()));
         TBuffer &buffer = *basket->GetBufferRef();
         long done = lengths ? lengths[0] : 1, offset = buffer.Length();
         long total = done;
         for (long i = 1; i < entries; ++i) {
            basket->Update(offset);
            const long length = lengths ? lengths[i] : 1;
            offset += length * size;
            total += length;
         }
         Append(buffer, letters[c], values + done * size, total - done);
         branch.SetEntries(first + entries);
         KeepMaximum(branch, values, entries);
      }
      tree->SetEntries(first + entries);
      return tree->FlushBaskets() >= 0 && !file.TestBit(TFile::kWriteError);
   }

   // Readers size their buffers by the largest value of a counter.
   static void KeepMaximum(TBranch &branch, const void *values, long entries)
   {
      auto *leaf = static_cast<TLeaf *>(branch.GetListOfLeaves()->UncheckedAt(0));
      if (!leaf->IsRange())
         return;
      int largest = leaf->GetMaximum();
      for (long i = 0; i < entries; ++i) {
         const int value = static_cast<const int *>(values)[i];
         largest = value > largest ? value : largest;
      }
      static_cast<TLeafI *>(leaf)->SetMaximum(largest);
   }

   // False when anything could not be written (a full disk).
   bool Close()
   {
      const bool good = file.Write() >= 0 && !file.TestBit(TFile::kWriteError);
      file.Close();
      return good;
   }
};

} // namespace nanolake
#endif
