// SPDX-License-Identifier: Apache-2.0
// The state in words: what is bound, what was believed when, what is frozen.
#include <algorithm>
#include <map>

#include "gui/app/moment.h"
#include "verify/judge.h"
#include "verify/report.h"

namespace pagetape {
namespace {

constexpr std::size_t kMostGraphs = 64;

class Teller {
 public:
  Teller(const World& world, const Names& names, const FirstUse& first_use)
      : world_(world), names_(names), first_use_(first_use) {}

  Block backend(const BackendState& backend) const {
    Block out{.title = "Backend " + s(backend.name),
              .note = s(backend.role),
              .command = declared(backend.name),
              .tone = {},
              .lines = {}};
    const std::vector<Binding> bindings = bindings_in_effect(backend);
    if (backend.all.by != kNever) {
      out.lines.push_back(bound("all layers", backend.all));
    }
    layers(backend, out);
    for (const Fact& f : backend.facts) fact(backend.name, f, bindings, out);
    remaps(backend, out);
    return out;
  }

  Block graph(Name name, const GraphState& graph) const {
    Block out{.title = "Graph " + s(name),
              .note = "",
              .command = to_event(graph.by),
              .tone = {},
              .lines = {}};
    Line times{{"captured at ", Tone::kDim}, at(graph.by)};
    if (graph.launched != kNever) {
      times.push_back({", last launched at ", Tone::kDim});
      times.push_back(at(graph.launched));
    }
    out.lines.push_back(std::move(times));
    pointers(graph, out);
    scalars(graph, out);
    inputs(graph, out);
    launches(graph, out);
    return out;
  }

  Block pools() const {
    Block out{.title = "Pools", .note = "", .tone = {}, .lines = {}};
    for (std::uint32_t p = 0; p < world_.pools.size(); ++p) {
      const Pool& pool = world_.pool(p);
      const Space& space = world_.space_of(pool);
      Line line{{s(pool.name), Tone::kStrong, to_event(pool.by)},
                {"  " + grouped(space.owned_pages()) + " of " +
                 grouped(static_cast<std::uint64_t>(pool.pages)) + " pages owned"},
                {", " + std::to_string(pool.page_size) +
                     (pool.page_size == 1 ? " token each" : " tokens each") +
                     (pool.kind == kNone ? "" : ", " + s(pool.kind)),
                 Tone::kDim}};
      add_since(line, pool.by);
      out.lines.push_back(std::move(line));
      out.lines.push_back(free_pages(pool));
    }
    for (std::uint32_t m = 0; m < world_.maps.size(); ++m) {
      const MapState& map = world_.maps[m];
      if (map.from == kNoPool || map.to == kNoPool) continue;
      Line line{{"map " + s(world_.maps.key(m)), Tone::kStrong, to_event(map.by)}, {"  "}};
      line.push_back(pool_link(map.from));
      line.push_back({" → "});
      line.push_back(pool_link(map.to));
      add_since(line, map.by);
      out.lines.push_back(std::move(line));
    }
    return out;
  }

  Block operations() const {
    Block out{.title = "Pending operations", .note = "", .tone = {}, .lines = {}};
    for (const Op& op : world_.ops) {
      Line line{
          {s(op.name), Tone::kStrong, to_event(op.event)},
          {std::string(op.writes ? "  writes " : "  reads ") + std::to_string(op.pages.size()) +
           (op.pages.size() == 1 ? " page" : " pages") + " of "}};
      line.push_back(pool_link(op.pool));
      line.push_back({", stream " + std::to_string(op.stream), Tone::kDim});
      add_since(line, op.event);
      out.lines.push_back(std::move(line));
    }
    return out;
  }

 private:
  std::string s(Name name) const { return std::string(names_.text(name)); }
  // Pages that nobody has of those that may be given out, ascending: in what order an allocator
  // keeps them is not recorded. A page that another space of the same allocator gave out is not
  // free.
  Line free_pages(const Pool& pool) const {
    constexpr std::size_t kMostRuns = 6;
    constexpr std::int64_t kMostPages = std::int64_t{1} << 24;
    if (pool.pages > kMostPages) return {};
    std::vector<bool> taken(static_cast<std::size_t>(std::max<std::int64_t>(pool.pages, 0)));
    const auto take = [&](PageId page) {
      if (pool.in_bounds(page)) taken[static_cast<std::size_t>(raw(page))] = true;
    };
    for (const ReservedPage& reserved : pool.reserved) take(reserved.page);
    for (const std::uint32_t s : world_.allocators[world_.space_of(pool).allocator].spaces) {
      world_.spaces[s].for_each_owned([&](PageId page, const PageInfo&) { take(page); });
    }
    std::string text;
    std::size_t runs = 0;
    for (auto begin = taken.begin();; ++runs) {
      begin = std::find(begin, taken.end(), false);
      if (begin == taken.end()) break;
      const auto end = std::find(begin, taken.end(), true);
      const auto first = begin - taken.begin(), last = end - taken.begin() - 1;
      begin = end;
      if (runs > kMostRuns) continue;
      text += runs == 0 ? ": " : ", ";
      text += runs == kMostRuns ? "…" : std::to_string(first);
      if (runs < kMostRuns && last != first) text += "–" + std::to_string(last);
    }
    const auto free = static_cast<std::uint64_t>(std::ranges::count(taken, false));
    return {{"    " + grouped(free) + " free", Tone::kPlain}, {text, Tone::kDim}};
  }
  static Phrase at(EventIndex event) {
    return {std::to_string(event), Tone::kPlain, to_event(event)};
  }
  static void add_since(Line& line, EventIndex by) {
    if (by == kNever) return;
    line.push_back({"  since ", Tone::kDim});
    line.push_back(at(by));
  }
  std::string declared(Name name) const { return "declared " + s(name); }
  Phrase pool_link(std::uint32_t pool, Tone tone = Tone::kPlain) const {
    if (pool == kNoPool) return {"no known pool", tone};
    const Name name = world_.pool(pool).name;
    return {s(name), tone, declared(name)};
  }
  std::string pool_name(const Binding& binding) const {
    return (binding.pool == kNoPool ? "no known pool" : s(world_.pool(binding.pool).name)) +
           (binding.set == kNone ? "" : " of " + s(binding.set));
  }
  Line bound(const std::string& what, const Binding& binding) const {
    Line out{{what + " → ", Tone::kDim}, pool_link(binding.pool, Tone::kStrong)};
    if (binding.set != kNone) out.push_back({" of " + s(binding.set), Tone::kStrong});
    add_since(out, binding.by);
    return out;
  }
  // Layers bound alike in one line, however they alternate.
  void layers(const BackendState& backend, Block& out) const {
    struct Alike {
      Binding binding;
      std::string names;
      std::ptrdiff_t count = 0;
    };
    std::vector<Alike> all;
    for (auto it = backend.layers.begin(); it != backend.layers.end();) {
      const auto next = std::find_if(it, backend.layers.end(), [&](const auto& layer) {
        return !(layer.second == it->second);
      });
      auto to = std::ranges::find(all, it->second, &Alike::binding);
      if (to == all.end()) to = all.insert(to, {it->second, "", 0});
      to->names += (to->count == 0 ? "" : ", ") + names_.layer(it->first);
      if (std::next(it) != next) to->names += "–" + names_.layer(std::prev(next)->first);
      to->count += std::distance(it, next);
      it = next;
    }
    for (const Alike& layers : all) {
      out.lines.push_back(
          bound((layers.count == 1 ? "layer " : "layers ") + layers.names, layers.binding));
    }
  }
  // What a fact says. A binding that contradicts it matters from the first launch on that uses
  // both: a pool swapped and swapped back in between harms nobody.
  void fact(Name backend, const Fact& f, const std::vector<Binding>& bindings, Block& out) const {
    const std::string what = f.attr == kNone ? "swa_state" : s(f.attr);
    const std::string value = f.attr != kNone ? ""
                              : f.uses_swa    ? ": window pool " + s(f.swa_pool)
                                              : ": no window pool";
    Line line{{what + value}, {", derived from " + s(f.object), Tone::kDim}};
    add_since(line, f.by);
    std::vector<Binding> against;
    EventIndex used = kNever;
    bool known = true;
    for (const Binding& binding : bindings) {
      const EventIndex since = stale_since(world_, f, binding);
      if (since == kNever) continue;
      against.push_back(binding);
      const std::optional<EventIndex> first = first_use_(backend, f, since);
      known = known && first.has_value();
      used = std::min(used, first.value_or(kNever));
    }
    if (against.empty()) return out.lines.push_back(std::move(line));
    const bool stale = used != kNever;
    const Tone tone = stale ? Tone::kBad : Tone::kDim;
    contradicted(f, against, tone, line);
    if (stale) {
      out.tone = line[0].tone = Tone::kBad;
      line.insert(line.begin(), {"STALE  ", Tone::kBad});
      line.push_back({", used since ", tone});
      line.push_back({std::to_string(used), tone, to_event(used)});
    } else {
      line.push_back(
          {known ? "; no launch has used it so far" : "; its launches are not read yet", tone});
    }
    out.lines.push_back(std::move(line));
  }
  void contradicted(const Fact& f, const std::vector<Binding>& against, Tone tone,
                    Line& line) const {
    if (Judge::fact_stale(world_, f, Binding())) {
      return line.push_back({"  " + s(f.object) + " was rebuilt after that", tone});
    }
    for (std::size_t i = 0; i < against.size(); ++i) {
      line.push_back({i == 0 ? "  ≠ " : ", ", tone});
      line.push_back({pool_name(against[i]), tone, to_event(against[i].by)});
    }
    line.push_back({" bound now", tone});
  }
  // Logical layers, the layers they lead to, and the pools bound to those.
  void remaps(const BackendState& backend, Block& out) const {
    for (const auto& [logical, remap] : backend.remap) {
      const auto it = backend.layers.find(remap.to);
      const Binding& binding = it == backend.layers.end() ? backend.all : it->second;
      Chain& chain = out.chains.emplace_back();
      chain.names = {{"logical " + names_.layer(logical), {}, to_event(remap.by)},
                     {"layer " + names_.layer(remap.to), {}, to_event(binding.by)}};
      if (binding.by == kNever) continue;
      chain.names.push_back({pool_name(binding), {}, pool_link(binding.pool).command});
    }
  }
  void pointers(const GraphState& graph, Block& out) const {
    Line froze{{"froze ", Tone::kDim}};
    for (const FrozenPointer& pointer : graph.buffers) {
      const BufferState* buffer = world_.buffers.find(pointer.buffer);
      const bool moved = buffer != nullptr && buffer->version != pointer.version;
      if (froze.size() > 1) froze.push_back({", "});
      froze.push_back({s(pointer.buffer), moved ? Tone::kBad : Tone::kPlain});
      if (!moved) continue;
      froze.push_back({" (reallocated since)", Tone::kBad});
      out.tone = Tone::kBad;
    }
    if (!graph.buffers.empty()) out.lines.push_back(std::move(froze));
  }
  // Values of capture, beside those of now where they differ.
  void scalars(const GraphState& graph, Block& out) const {
    Line froze{{"froze ", Tone::kDim}};
    for (const auto& [name, json] : graph.scalars) {
      const ScalarState* now = world_.scalars.find(name);
      const bool moved = now != nullptr && now->json != json;
      if (froze.size() > 1) froze.push_back({", "});
      froze.push_back({s(name) + " = " + s(json), moved ? Tone::kBad : Tone::kPlain});
      if (!moved) continue;
      froze.push_back({" (now " + s(now->json) + ")", Tone::kBad, to_event(now->by)});
      out.tone = Tone::kBad;
    }
    if (!graph.scalars.empty()) out.lines.push_back(std::move(froze));
  }
  // What has to be rewritten before each launch, and when it was last.
  void inputs(const GraphState& graph, Block& out) const {
    Line line{{"inputs ", Tone::kDim}};
    for (const Name input : graph.inputs) {
      const BufferState* buffer = world_.buffers.find(input);
      if (line.size() > 1) line.push_back({", "});
      line.push_back({s(input)});
      if (buffer == nullptr || buffer->rewritten == kNever) {
        line.push_back({" never rewritten", Tone::kDim});
        continue;
      }
      line.push_back({" rewritten at ", Tone::kDim});
      line.push_back(at(buffer->rewritten));
      const EventIndex last = graph.launched == kNever ? graph.by : graph.launched;
      if (buffer->rewritten <= last)
        line.push_back(
            {graph.launched == kNever ? " (before its capture)" : " (before its last launch)",
             Tone::kDim});
    }
    if (line.size() > 1) out.lines.push_back(std::move(line));
  }
  // What its launches froze of bindings and facts, alike ones once.
  void launches(const GraphState& graph, Block& out) const {
    std::vector<std::string> said;
    for (const CapturedLaunch& launch : graph.launches) {
      for (const Target& target : launch.targets.list) {
        Line line{{"layer ", Tone::kDim},
                  {names_.layer(target.physical)},
                  {" → ", Tone::kDim},
                  {pool_name(target.binding), {}, to_event(target.binding.by)}};
        for (const Fact& f : launch.facts) {
          if (f.attr != kNone) continue;
          const bool stale = Judge::fact_stale(world_, f, target.binding);
          line.push_back(
              {std::string(f.uses_swa ? ", window pool " + s(f.swa_pool) : ", no window pool") +
                   (stale ? " (stale)" : ""),
               stale ? Tone::kBad : Tone::kDim, to_event(f.by)});
          if (stale) out.tone = Tone::kBad;
        }
        const std::string text = text_of(line);
        if (std::ranges::find(said, text) != said.end()) continue;
        said.push_back(text);
        out.lines.push_back(line);
        if (said.size() >= 16) return;
      }
    }
  }

  const World& world_;
  const Names& names_;
  const FirstUse& first_use_;
};

}  // namespace

std::vector<Binding> bindings_in_effect(const BackendState& backend) {
  std::vector<Binding> out;
  const auto add = [&](const Binding& binding) {
    const auto alike = [&](const Binding& b) {
      return b.pool == binding.pool && b.set == binding.set;
    };
    if (binding.by != kNever && std::ranges::none_of(out, alike)) out.push_back(binding);
  };
  for (const auto& [logical, remap] : backend.remap) {
    const auto it = backend.layers.find(remap.to);
    add(it == backend.layers.end() ? backend.all : it->second);
  }
  if (!backend.remap.empty()) return out;
  add(backend.all);
  for (const auto& [layer, binding] : backend.layers) add(binding);
  return out;
}

std::vector<Block> blocks_of(const World& world, const Names& names, const FirstUse& first_use,
                             Name launched) {
  const Teller teller(world, names, first_use);
  std::vector<Block> out;
  if (const GraphState* graph = launched == kNone ? nullptr : world.graphs.find(launched)) {
    out.push_back(teller.graph(launched, *graph));
    out.back().note = "launched here";
  }
  for (std::uint32_t b = 0; b < world.backends.size(); ++b) {
    if (world.backends.key(b) != kNone) out.push_back(teller.backend(world.backends[b]));
  }
  if (world.pools.size() > 0) out.push_back(teller.pools());
  if (!world.ops.empty()) out.push_back(teller.operations());
  for (std::uint32_t g = 0; g < world.graphs.size() && g < kMostGraphs; ++g) {
    const Name name = world.graphs.key(g);
    if (name != kNone && name != launched) out.push_back(teller.graph(name, world.graphs[g]));
  }
  return out;
}

}  // namespace pagetape
