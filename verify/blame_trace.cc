// SPDX-License-Identifier: Apache-2.0
#include "verify/blame_trace.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <span>
#include <thread>

#include "replay/team.h"
#include "verify/fetch.h"
#include "verify/judge.h"
#include "verify/past.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A layer that is not known gives one that none is equal to.
Layer layer_in(const std::string& text, const Names& names) {
  if (const auto n = number_in(text); n && *n >= 0 && *n <= INT32_MAX) {
    return Layer::number(static_cast<std::int32_t>(*n));
  }
  return Layer::named(names.find(text));
}

// Listens to the one event, and answers the question from the state before it.
class Answer final : public Observer {
 public:
  Answer(const Names& names, const Question& question)
      : names_(names),
        question_(question),
        asked_row_(question.row || question.column),
        open_(question.open()),
        judge_(names, {.hold_back = false}, all_rules()) {}

  void on_event(const World& world, const Event& event, EventIndex index) override {
    if (open_) judge_.on_event(world, event, index);
    step = world.step;
    kind_ = event.kind();
    if (!question_.page.empty()) return of_page(world, question_.page);
    if (!question_.binding.empty()) return of_binding(world);
    if (!question_.scalar.empty()) return of_scalar(world, event);
    std::visit([&](const auto& body) { of_event(world, body); }, event.body);
  }
  void on_page(World& world, const PageAct& act) override {
    if (open_) judge_.on_page(world, act);
  }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    if (open_) judge_.on_graph_launch(world, name, graph);
  }
  void on_launch(World& world, const LaunchView& view) override {
    if (open_) judge_.on_launch(world, view);
    if (view.targets == nullptr || taken_) return;
    if (!question_.binding.empty()) return of_launch_binding(world, view);
    if (!question_.page.empty() || !question_.scalar.empty()) return;
    if (question_.launch && *question_.launch != view.number) return;
    if (const Target* target = target_of(view, question_.layer)) of_lane(world, view, *target);
  }

  // After the event: the chain, or why there is none.
  Status finish(BlameReport& report) {
    if (open_) {
      for (const RuleInfo& rule : kRules) {
        const Finding* first = judge_.findings().first(rule.rule);
        if (first != nullptr) report.findings.push_back(*first);
      }
    }
    if (!report.findings.empty()) {
      links.clear();
      for (const Finding& f : report.findings) {
        links.insert(links.end(), f.blame.begin(), f.blame.end());
      }
      subject = report.findings.size() == 1 ? "the finding" : "the first finding of each rule";
      const auto key = [](const Link& l) { return std::tuple(l.event, l.spot.kind, l.spot.a); };
      std::ranges::stable_sort(links, {}, key);
      links.erase(std::unique(links.begin(), links.end()), links.end());
      return {};
    }
    if (!wrong_.empty()) return usage(wrong_);
    if (!subject.empty()) return {};
    const std::string what =
        "event " + std::to_string(report.at) + " (" + std::string(kKindNames[kind_]) + ')';
    if (question_.launch || !question_.layer.empty()) {
      return usage(what + " has no such launch or layer");
    }
    return usage(what + (asked_row_ ? " has neither lanes nor cells: --row and --col need an "
                                      "attention, a store, a graph launch or a table"
                                    : " breaks no rule and names no page, cell, scalar or lane: "
                                      "say --row and --col, --page, --binding or --scalar"));
  }

  std::vector<Link> links;
  std::string subject;
  std::int64_t step = -1;

 private:
  std::string s(Name name) const { return std::string(names_.text(name)); }

  const Target* target_of(const LaunchView& view, const std::string& layer) const {
    if (layer.empty()) return view.targets->list.empty() ? nullptr : &view.targets->list[0];
    const Layer wanted = layer_in(layer, names_);
    for (const Target& target : view.targets->list) {
      if (target.logical == wanted || target.physical == wanted) return &target;
    }
    return nullptr;
  }
  std::string launch_words(const LaunchView& view, const Target& target) const {
    std::string out =
        "backend " + s(view.backend->name) + ", layer " + names_.layer(target.physical);
    if (target.logical != target.physical) out += " (logical " + names_.layer(target.logical) + ')';
    if (view.graph != nullptr) {
      out += ", launch " + std::to_string(view.number) + " of graph " + s(view.graph_name);
    }
    return out;
  }

  void of_lane(const World& world, const LaunchView& view, const Target& target) {
    const std::int64_t row = question_.row.value_or(0);
    if (row >= static_cast<std::int64_t>(view.lanes.size())) {
      wrong_ = "the launch has " + std::to_string(view.lanes.size()) + " lanes, no row " +
               std::to_string(row);
      return;
    }
    const Lane& lane = view.lanes[static_cast<std::size_t>(row)];
    const std::int64_t column = question_.column.value_or(last_column(world, view, lane));
    links = blame_entry(world, view, target, row, column, names_);
    subject = "row " + std::to_string(row) + ", column " + std::to_string(column) + " of " +
              launch_words(view, target) + ": ";
    Cell cell;
    if (view.store != nullptr) {
      const bool held = column < lane.slots_count;
      subject +=
          held ? "slot " + std::to_string(
                               raw(view.slots[lane.slots_begin + static_cast<std::size_t>(column)]))
               : "no slot";
    } else {
      subject +=
          lane.entry(column, cell) ? "id " + std::to_string(raw(cell.page)) : "never written";
    }
    if (lane.req != kNone) subject += ", for request " + s(lane.req);
    taken_ = true;
    wrong_.clear();
  }

  // The lane's last live entry or slot.
  static std::int64_t last_column(const World& world, const LaunchView& view, const Lane& lane) {
    if (view.attention == nullptr) return std::max<std::int64_t>(lane.slots_count, 1) - 1;
    std::int64_t tokens = view.attention->page_size.value_or(0);
    const std::uint32_t pool =
        view.targets->groups.empty() ? kNoPool : view.targets->groups[0].pool;
    if (tokens == 0 && pool != kNoPool) tokens = world.pool(pool).page_size;
    std::int64_t last = lane.held() - 1;
    if (tokens > 0 && lane.len > 0 && lane.logical == nullptr) {
      last = std::min(last, (lane.len - 1) / tokens - lane.first);
    }
    return std::max<std::int64_t>(last, 0);
  }

  void of_launch_binding(const World& world, const LaunchView& view) {
    const auto colon = question_.binding.rfind(':');
    if (s(view.backend->name) != question_.binding.substr(0, colon)) return;
    const Target* target = target_of(view, question_.binding.substr(colon + 1));
    if (target == nullptr) return;
    links = blame_target(world, view, *target, names_);
    subject = "the binding of " + launch_words(view, *target);
    taken_ = true;
  }
  void of_binding(const World& world) {
    const auto colon = question_.binding.rfind(':');
    const std::string backend = question_.binding.substr(0, colon);
    const Name name = names_.find(backend);
    if (world.backends.find(name) == nullptr) {
      wrong_ = "there is no backend \"" + backend + "\" at this event";
      return;
    }
    const Layer layer = layer_in(question_.binding.substr(colon + 1), names_);
    links = blame_binding(world, name, layer, names_);
    subject =
        "the binding of backend " + backend + ", layer " + question_.binding.substr(colon + 1);
  }
  void of_page(const World& world, const std::string& text) {
    const auto colon = text.rfind(':');
    const auto page = number_in(colon == std::string::npos ? text : text.substr(colon + 1));
    std::uint32_t pool = kNoPool;
    if (colon != std::string::npos) {
      pool = world.pools.index(names_.find(text.substr(0, colon)));
    } else if (world.pools.size() == 1) {
      pool = 0;
    }
    if (pool == kNoPool) {
      wrong_ = "--page " + text + ": say which pool, POOL:PAGE, of";
      for (std::uint32_t p = 0; p < world.pools.size(); ++p) wrong_ += ' ' + s(world.pool(p).name);
      return;
    }
    if (!page || *page < 0 || *page >= world.pool(pool).pages) {
      wrong_ = "--page " + text + ": pool " + s(world.pool(pool).name) + " has pages 0 to " +
               std::to_string(world.pool(pool).pages - 1);
      return;
    }
    links = blame_page(world, pool, PageId{static_cast<std::int32_t>(*page)}, names_);
    subject = "page " + std::to_string(*page) + " of pool " + s(world.pool(pool).name);
  }
  void of_scalar(const World& world, const Event& event) {
    const Name name = names_.find(question_.scalar);
    if (world.scalars.find(name) == nullptr) {
      wrong_ = "no scalar \"" + question_.scalar + "\" was set or captured before this event";
      return;
    }
    Name graph = kNone;
    if (const auto* e = std::get_if<ev::GraphLaunch>(&event.body)) graph = e->graph;
    if (const auto* e = std::get_if<ev::GraphStep>(&event.body)) graph = e->graph;
    links = blame_scalar(world, name, graph, names_);
    subject = "scalar " + question_.scalar;
  }

  // Without a question, or with a row and a column: what the event itself names.
  template <class T>
  void of_event(const World& world, const T& e) {
    if constexpr (std::is_same_v<T, ev::Table>) {
      if (!asked_row_ && !open_) return;
      const std::int64_t row = question_.row.value_or(e.row);
      const std::int64_t column = question_.column.value_or(e.col);
      links = blame_cell(world, e.buffer, row, column, names_);
      subject = "row " + std::to_string(row) + ", column " + std::to_string(column) + " of table " +
                s(e.buffer);
    } else if constexpr (std::is_same_v<T, ev::Scalar>) {
      if (!open_) return;
      links = blame_scalar(world, e.name, kNone, names_);
      subject = "scalar " + s(e.name);
    } else if constexpr (requires {
                           e.pool;
                           e.pages[0];
                         }) {
      if (open_ && !e.pages.empty()) of_own_page(world, e.pool, e.pages[0]);
    } else if constexpr (requires {
                           e.pool;
                           e.page;
                         }) {
      if (open_) of_own_page(world, e.pool, e.page);
    }
  }
  void of_own_page(const World& world, Name name, PageId page) {
    const std::uint32_t pool = world.pools.index(name);
    if (pool == kNoPool) return;
    links = blame_page(world, pool, page, names_);
    subject = "page " + std::to_string(raw(page)) + " of pool " + s(name);
  }

  const Names& names_;
  const Question& question_;
  const bool asked_row_;
  const bool open_;  // Nothing was asked.
  Judge judge_;
  std::size_t kind_ = 0;
  bool taken_ = false;  // A launch of the event has answered.
  std::string wrong_;
};

void fill_in(Link& link, const Event& event, std::int64_t step, const Names& names) {
  link.step = step;
  link.t = event.t.value_or(INT64_MIN);
  link.sentence = describe(event, names);
  link.src = names.text(event.src);
}

// Most events of a trace: those that change no state, and where it is not asked what is written of
// pages, those that change just that.
KindSet left_out(bool asked_what_is_written) {
  KindSet kinds;
  kinds.set(kKindOf<ev::Attention>).set(kKindOf<ev::Accept>);
  kinds.set(kKindOf<ev::FreeCount>).set(kKindOf<ev::LaunchDone>);
  if (asked_what_is_written) return kinds;
  return kinds.set(kKindOf<ev::Store>).set(kKindOf<ev::Fill>).set(kKindOf<ev::Rewind>);
}

// Links whose events are reached from one keyframe.
struct Visit {
  std::span<Link> links;
  Status status;
};

// The names of a spot in another table.
Spot renamed(Spot spot, Renaming& rename) {
  spot.object = rename(spot.object);
  spot.attribute = rename(spot.attribute);
  spot.layer = rename(spot.layer);
  return spot;
}

// Goes to each event in its own past. `names` is the links' table; the trace is read with another.
void look_at(const std::string& path, std::int64_t rank, const Names& names, Visit& visit) {
  Names table;
  Renaming rename(names, table);
  const std::unique_ptr<Past> past = Past::open(path, table, visit.status);
  if (past == nullptr) return;
  const auto written = [](const Link& link) { return link.spot.kind == LinkKind::kWrite; };
  past->leave_out(left_out(std::ranges::any_of(visit.links, written)));
  for (auto at = visit.links.begin(); at != visit.links.end();) {
    const auto end = std::find_if(at, visit.links.end(),
                                  [&](const Link& link) { return link.event != at->event; });
    Event event;
    Status status = past->go_before(at->event);
    const World* world = status.ok() ? past->state().world(rank) : nullptr;
    const World nothing;
    const World& before = world == nullptr ? nothing : *world;
    const std::int64_t step = before.step;
    for (Link& link : std::span(at, end)) {
      if (status.ok()) link.value_before = value_of(before, renamed(link.spot, rename), table);
    }
    if (status.ok()) status = past->pass(event, nullptr);
    for (Link& link : std::span(at, end)) {
      if (status.ok()) fill_in(link, event, step, table);
    }
    if (visit.status.ok()) visit.status = status;
    at = end;
  }
}

// Visits each event of the chain, those of different keyframes at once.
Status look_back(const std::string& path, Past& past, std::int64_t rank, const Names& names,
                 std::vector<Link>& links) {
  std::vector<Visit> visits;
  for (std::size_t i = 0; i < links.size();) {
    const EventIndex from = past.reached_from(links[i].event);
    std::size_t end = i + 1;
    while (end < links.size() && past.reached_from(links[end].event) == from) ++end;
    visits.push_back({std::span(links).subspan(i, end - i), {}});
    i = end;
  }
  const auto threads = std::min<std::size_t>(visits.size(), std::thread::hardware_concurrency());
  Team team(std::max(1U, static_cast<unsigned>(threads)));
  team.run(visits.size(), [&](std::size_t i, unsigned) { look_at(path, rank, names, visits[i]); });
  for (const Visit& visit : visits) {
    if (!visit.status.ok()) return visit.status;
  }
  return {};
}

}  // namespace

int BlameReport::exit_code() const {
  if (status.code() == Code::kDamaged) return 3;
  return status.ok() ? 0 : 2;
}

void annotate(const std::string& path, Names& names, std::vector<Link>& links) {
  std::vector<EventIndex> wanted;
  for (const Link& link : links) {
    if (link.sentence.empty()) wanted.push_back(link.event);
  }
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  const std::vector<Fetched> fetched = fetch_events(path, names, wanted);
  for (Link& link : links) {
    const auto at = std::ranges::lower_bound(fetched, link.event, {}, &Fetched::index);
    if (link.sentence.empty() && at != fetched.end() && at->index == link.event) {
      fill_in(link, at->event, at->step, names);
    }
  }
}

BlameReport blame_trace(const std::string& path, EventIndex at, const Question& question) {
  BlameReport report;
  report.trace = path;
  report.names = std::make_shared<Names>();
  report.at = at;
  const std::unique_ptr<Past> past = Past::open(path, *report.names, report.status);
  if (past == nullptr) return report;
  // Rules are judged by what is written.
  past->leave_out(left_out(question.open() || !question.page.empty()));
  report.status = past->go_before(at);
  if (!report.status.ok()) return report;
  Answer answer(*report.names, question);
  Event event;
  report.status = past->pass(event, &answer);
  if (report.status.ok()) report.status = answer.finish(report);
  if (!report.status.ok()) return report;
  report.subject = answer.subject;
  report.links = std::move(answer.links);
  if (question.before) {
    const std::int64_t rank = event.rank.value_or(State::kNoRank);
    report.status = look_back(path, *past, rank, *report.names, report.links);
  } else {
    annotate(path, *report.names, report.links);
  }
  Link& self = report.links.emplace_back();
  self.spot.kind = LinkKind::kLaunch;
  self.event = at;
  fill_in(self, event, answer.step, *report.names);
  return report;
}

}  // namespace pagetape
