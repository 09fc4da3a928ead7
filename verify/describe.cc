// SPDX-License-Identifier: Apache-2.0
// Events in words.
#include <algorithm>

#include "traces/text.h"
#include "verify/report.h"

namespace pagetape {
namespace {

class Describer {
 public:
  explicit Describer(const Names& names) : names_(names) {}

  std::string operator()(const ev::Pool& e) const {
    return "pool " + s(e.pool) + " was declared with " + std::to_string(e.pages) + " pages of " +
           std::to_string(e.page_size) + " tokens";
  }
  std::string operator()(const ev::Backend& e) const {
    return "backend " + s(e.backend) + (e.role != kNone ? " (" + s(e.role) + ")" : "") +
           " was created";
  }
  std::string operator()(const ev::PoolSwap& e) const {
    return "backend " + s(e.backend) + ": " + layers(e.layers) + " bound to pool " + s(e.pool) +
           (e.set != kNone ? " through " + s(e.set) : "") + " (the pool swap)";
  }
  std::string operator()(const ev::SwaState& e) const {
    return "backend " + s(e.backend) + " derived from " + s(e.derived_from) + " that it " +
           (e.uses_swa ? "uses sliding-window pool " + s(e.swa_pool)
                       : "uses no sliding-window pool");
  }
  std::string operator()(const ev::Cached& e) const {
    return "backend " + s(e.backend) + " cached " + s(e.attr) + " from " + s(e.derived_from);
  }
  std::string operator()(const ev::LayerRemap& e) const {
    return "backend " + s(e.backend) + ": logical layer " + names_.layer(e.layer) +
           " was mapped to layer " + names_.layer(e.to);
  }
  std::string operator()(const ev::Version& e) const { return s(e.object) + " was rebuilt"; }
  std::string operator()(const ev::Buffer& e) const {
    return "buffer " + s(e.buffer) + " was (re)allocated";
  }
  std::string operator()(const ev::Alloc& e) const {
    return list(e.pages) + " of pool " + s(e.pool) + " given to " + s(e.req);
  }
  std::string operator()(const ev::Share& e) const {
    return list(e.pages) + " of pool " + s(e.pool) + " shared by " + s(e.req);
  }
  std::string operator()(const ev::Free& e) const {
    return list(e.pages) + " of pool " + s(e.pool) + " freed by " + s(e.req);
  }
  std::string operator()(const ev::Evict& e) const {
    return "logical page " + std::to_string(e.logical) + " of " + s(e.req) + " (page " +
           std::to_string(raw(e.page)) + " of pool " + s(e.pool) + ") left the window";
  }
  std::string operator()(const ev::Header& e) const {
    std::string out = "the recording begins";
    if (e.engine != kNone) out += ": " + s(e.engine);
    if (e.engine_version != kNone) out += ' ' + s(e.engine_version);
    return e.model == kNone ? out : out + ", " + s(e.model);
  }
  std::string operator()(const ev::Fill& e) const {
    return list(e.pages) + " of pool " + s(e.pool) + " written by " + s(e.req);
  }
  std::string operator()(const ev::PrefixKey& e) const {
    return one(e.page) + " of pool " + s(e.pool) + " offered under key " + s(e.key);
  }
  std::string operator()(const ev::PrefixHit& e) const {
    return one(e.page) + " of pool " + s(e.pool) + " reused by " + s(e.req) + ", key " + s(e.key);
  }
  std::string operator()(const ev::PrefixDrop& e) const {
    return one(e.page) + " of pool " + s(e.pool) + " no longer offered under key " + s(e.key);
  }
  std::string operator()(const ev::MapClear& e) const {
    return "map " + s(e.map) + " lost " + std::to_string(e.from.size()) + " entries";
  }
  std::string operator()(const ev::MapFree& e) const {
    return std::to_string(e.from.size()) + " entries of map " + s(e.map) + " freed by " + s(e.req);
  }
  std::string operator()(const ev::Request& e) const {
    return "request " + s(e.req) + ": " + s(e.state);
  }
  std::string operator()(const ev::Store& e) const {
    return "backend " + s(e.backend) + " stored K and V";
  }
  std::string operator()(const ev::Copy& e) const {
    return list(e.from) + " of pool " + s(e.from_pool) + " copied to " + list(e.to) + " of pool " +
           s(e.to_pool);
  }
  std::string operator()(const ev::Step& e) const {
    return "step " + std::to_string(e.step) + (e.mode == kNone ? "" : " (" + s(e.mode) + ')') +
           " began";
  }
  std::string operator()(const ev::Gap& e) const { return "a gap: " + s(e.why); }
  std::string operator()(const ev::End&) const { return "the recording ends"; }
  std::string operator()(const ev::AsyncEnd& e) const { return "operation " + s(e.op) + " ended"; }
  std::string operator()(const ev::CudaError& e) const {
    return "CUDA error " + std::to_string(e.code) + ' ' + s(e.name) + ": " + s(e.message);
  }
  std::string operator()(const ev::Table& e) const {
    return "table " + s(e.buffer) + ", row " + std::to_string(e.row) + ", from column " +
           std::to_string(e.col) + ": " + list(e.pages) +
           (e.space != kNone ? ", ids of space " + s(e.space) : "");
  }
  std::string operator()(const ev::MapSet& e) const {
    return "map " + s(e.map) + " got " + std::to_string(e.pairs.size()) + " entries";
  }
  std::string operator()(const ev::GraphCapture& e) const {
    return "graph " + s(e.graph) + " was captured: pointers, bindings and choices are frozen";
  }
  std::string operator()(const ev::GraphLaunch& e) const {
    return "graph " + s(e.graph) + " was launched";
  }
  std::string operator()(const ev::Attention& e) const {
    return "backend " + s(e.backend) + " ran attention";
  }
  std::string operator()(const ev::AsyncBegin& e) const {
    return "operation " + s(e.op) + " of " + s(e.by) + " began to " + s(e.kind) + ' ' +
           list(e.pages) + " of pool " + s(e.pool);
  }
  template <class T>
  std::string operator()(const T&) const {
    return {};  // Said in its text form.
  }

 private:
  static std::string one(PageId page) { return "page " + std::to_string(raw(page)); }
  std::string s(Name name) const { return std::string(names_.text(name)); }
  std::string layers(const LayerChoice& choice) const {
    if (choice.all) return "all layers";
    std::string out = choice.list.size() == 1 ? "layer" : "layers";
    for (std::size_t i = 0; i < std::min<std::size_t>(choice.list.size(), 8); ++i) {
      out += (i == 0 ? " " : ", ") + names_.layer(choice.list[i]);
    }
    if (choice.list.size() > 8) out += ", …";
    return out;
  }
  static std::string list(const Pages& pages) {
    std::string out = pages.size() == 1 ? "page" : "pages";
    for (std::size_t i = 0; i < std::min<std::size_t>(pages.size(), 6); ++i) {
      out += (i == 0 ? " " : ", ") + std::to_string(raw(pages[i]));
    }
    if (pages.size() > 6) out += ", … (" + std::to_string(pages.size()) + " in all)";
    return out;
  }

  const Names& names_;
};

}  // namespace

std::string describe(const Event& event, const Names& names) {
  std::string words = std::visit(Describer(names), event.body);
  if (words.empty()) words = print_event(event, names);
  if (words.size() > 300) words = words.substr(0, 300) + "…";
  if (event.src != kNone) words += " at " + std::string(names.text(event.src));
  return words;
}

}  // namespace pagetape
