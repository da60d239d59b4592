// Writes compressed columns as a TTree of C-style variable-length leaves, a cluster at a time.
// Kept tiny: cling compiles it at the start of every generator job.
//
// TTree::Fill costs 0.1 us a branch and event, and ROOT would compress the same entry offsets for
// every column of a collection. So the columns come as finished baskets (writer.py); here they get
// their keys and their places in the tree, as in a fast merge of files.
#ifndef NANOLAKE_TREE_WRITER_H
#define NANOLAKE_TREE_WRITER_H

#include "TArrayC.h"
#include "TBasket.h"
#include "TBranch.h"
#include "TBuffer.h"
#include "TFile.h"
#include "TKey.h"
#include "TLeafI.h"
#include "TList.h"
#include "TROOT.h"
#include "TTree.h"
#include "TVirtualStreamerInfo.h"

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

// A basket whose content comes from elsewhere.
struct PackedBasket : public TBasket {
   using TBasket::TBasket;

   // `values` and `size` are uncompressed lengths, without and with the entry offsets.
   bool WriteContent(const unsigned char *content, int length, int entries, int values, int size, int width)
   {
      fNevBuf = entries;
      fNevBufSize = width;
      fLast = fKeylen + values;
      fObjlen = size;
      fBufferRef->Expand(fKeylen + length + 8);
      fBuffer = fBufferRef->Buffer();
      Create(length);
      fBufferRef->SetBufferOffset(0);
      fHeaderOnly = true;
      Streamer(*fBufferRef);
      memcpy(fBuffer + fKeylen, content, length);
      return WriteFileKeepBuffer() > 0;
   }
};

struct TreeWriter {
   OrderedFile file;
   TTree *tree = nullptr;

   TreeWriter(const char *url, const char *name, int compression, long clusterEvents)
      : file(url, "RECREATE", "", compression)
   {
      if (file.IsZombie())
         return;
      tree = new TTree(name, name, 99, &file);
      tree->SetAutoFlush(clusterEvents);
      tree->SetAutoSave(0);
   }

   void Add(const char *name, const char *leaf)
   {
      static unsigned long long nothing[16];
      tree->Branch(name, nothing, leaf, 32000);
   }

   // The entry offsets in a basket count from the start of its key, of this length.
   int KeyLength(const char *name, const char *title)
   {
      return PackedBasket(name, title, tree->GetBranch(name)).GetKeylen();
   }

   // The next basket of a branch; `largest` is that of a counter, by which readers size buffers.
   bool Append(const char *name, const char *title, const unsigned char *content, int length, int entries,
               int values, int size, int width, int largest)
   {
      TBranch &branch = *tree->GetBranch(name);
      PackedBasket basket(name, title, &branch);
      if (!basket.WriteContent(content, length, entries, values, size, width))
         return false;
      branch.AddBasket(basket, true, branch.GetEntries());
      auto *leaf = static_cast<TLeaf *>(branch.GetListOfLeaves()->UncheckedAt(0));
      if (leaf->IsRange() && largest > leaf->GetMaximum())
         static_cast<TLeafI *>(leaf)->SetMaximum(largest);
      return !file.TestBit(TFile::kWriteError);
   }

   // False when anything could not be written (a full disk).
   bool Close(long entries)
   {
      for (TObject *branch : *tree->GetListOfBranches())
         static_cast<TBranch *>(branch)->AddLastBasket(entries);
      tree->SetEntries(entries);
      const bool good = file.Write() >= 0 && !file.TestBit(TFile::kWriteError);
      file.Close();
      return good;
   }
};

} // namespace nanolake
#endif
