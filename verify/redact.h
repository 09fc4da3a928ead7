// SPDX-License-Identifier: Apache-2.0
// A trace that can be given away: what could tell of users or of their machine is taken out.
#pragma once

#include <set>

#include "traces/event.h"
#include "traces/names.h"
#include "verify/renamer.h"

namespace pagetape {

// Renamed, the same name always alike, so that the rules find what they found before: requests and
// whoever else owns pages (r0, r1, … in order of appearance; a cache #r0), asynchronous operations,
// prefix keys, digests, words in scalars, and what extents, views and accesses are of, unless the
// trace declared it (a pool, a buffer, …). Taken out: call sites, fields that are not known, the
// folders of a model's path, and the words of notes, gaps and errors.
//
// Left: names of pools, backends, buffers, graphs and kernels, which the engine chose; page ids,
// lengths, times and addresses.
class Redactor {
 public:
  // The table of the events to come; outlives the redactor.
  explicit Redactor(Names& names);

  // All events of a trace, in their order.
  void redact(Event& event);

 private:
  template <class T>
  void strip(T&) {}
  void strip(ev::Pool& e) { declared_.insert(e.pool); }
  void strip(ev::Buffer& e) { declared_.insert(e.buffer); }
  void strip(ev::Map& e) { declared_.insert(e.map); }
  void strip(ev::PoolSet& e) { declared_.insert(e.set); }
  void strip(ev::Backend& e) { declared_.insert(e.backend); }
  void strip(ev::Extent& e) { strip_object(e.owner); }
  void strip(ev::View& e) { strip_object(e.object); }
  void strip(ev::Access& e) { strip_object(e.object); }
  void strip(ev::Header& e);
  void strip(ev::Scalar& e) { strip_scalar(e.value); }
  void strip(ev::GraphCapture& e);
  void strip(ev::Note& e) { e.text = redacted_; }
  void strip(ev::CudaError& e) { e.message = redacted_; }
  void strip(ev::Gap& e) { e.why = redacted_; }
  void strip_object(Name& object);
  void strip_scalar(ScalarValue& value);

  Names& names_;
  Renamer renamer_;
  const Name redacted_;
  std::set<Name> declared_;
};

}  // namespace pagetape
