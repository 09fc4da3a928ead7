// SPDX-License-Identifier: Apache-2.0
#include "gui/app/moment.h"

#include <algorithm>

#include "traces/text.h"
#include "verify/condition.h"
#include "verify/report.h"
#include "verify/right_page.h"

namespace pagetape {
namespace {

constexpr std::size_t kMostFindings = 4096;
constexpr std::size_t kMostLaunches = 1000;

// Judges one event and takes down its launches, one of them cell by cell.
class Look final : public JudgeWatch {
 public:
  Look(const Names& names, const Coverage& known, std::optional<std::size_t> wanted, Moment& out)
      : JudgeWatch(names, kMostFindings, known), names_(names), wanted_(wanted), out_(out) {}

  const StaleUses& stale() const { return stale_; }
  void on_event(const World& world, const Event& event, EventIndex at) override {
    JudgeWatch::on_event(world, event, at);
    rank_ = event.rank.value_or(State::kNoRank);
  }

  void on_launch(World& world, const LaunchView& view) override {
    const std::uint64_t before = judge().findings().total();
    JudgeWatch::on_launch(world, view);
    (void)stale_.add(rank_, world, names_, view, out_.at);
    const std::uint64_t found = judge().findings().total() - before;
    if (view.attention == nullptr || view.targets == nullptr || view.targets->groups.empty()) {
      return;
    }
    if (out_.launches.size() >= kMostLaunches) return;
    const std::size_t number = out_.launches.size();
    out_.launches.push_back({.text = brief(world, view), .findings = found});
    const bool take = wanted_ ? *wanted_ == number : number == 0 || (found > 0 && !found_);
    if (!take) return;
    found_ = found > 0;
    out_.launch = number;
    const std::vector<Finding> findings = judge().findings().sorted();
    out_.table = table(world, view, findings);
  }

 private:
  std::string s(Name name) const { return std::string(names_.text(name)); }

  std::string brief(const World& world, const LaunchView& view) const {
    const Targets::Group& group = view.targets->groups[0];
    const Target& target = view.targets->list[group.members.empty() ? 0 : group.members[0]];
    std::string out = s(view.backend->name) + ", layer " + names_.layer(target.physical);
    if (target.logical != target.physical) out += " (logical " + names_.layer(target.logical) + ')';
    if (view.targets->list.size() > 1) {
      out += " and " + std::to_string(view.targets->list.size() - 1) + " more";
    }
    if (group.pool != kNoPool) out += ", pool " + s(world.pool(group.pool).name);
    if (view.graph != nullptr) {
      out += ", graph " + s(view.graph_name) + " launch " + std::to_string(view.number);
    }
    return out;
  }

  // The group whose pool the first finding of the launch names, else the first.
  static const Targets::Group& group_of(const World& world, const LaunchView& view,
                                        const std::vector<Finding>& findings) {
    for (const Finding& finding : findings) {
      if (finding.launch != view.number || finding.column < 0) continue;
      for (const Targets::Group& group : view.targets->groups) {
        if (group.pool != kNoPool && world.pool(group.pool).name == finding.pool) return group;
      }
    }
    return view.targets->groups[0];
  }

  TableGrid table(const World& world, const LaunchView& view,
                  const std::vector<Finding>& findings) const {
    TableGrid out;
    const Targets::Group& group = group_of(world, view, findings);
    const Pool* pool = group.pool == kNoPool ? nullptr : &world.pool(group.pool);
    out.title = brief(world, view);
    out.tokens = std::max<std::int64_t>(
        1, view.attention->page_size.value_or(pool == nullptr ? 1 : pool->page_size));
    out.window = view.attention->window.value_or(0);
    if (pool != nullptr) {
      out.pool = s(pool->name);
      out.bound = pool->pages * pool->page_size / out.tokens;
    }
    for (const Lane& lane : view.lanes) {
      if (static_cast<std::int64_t>(out.rows.size()) >= TableGrid::kMostRows) break;
      out.rows.push_back(row(world, pool, lane, out));
      out.columns = std::max(out.columns, out.rows.back().cells.size());
    }
    for (const Finding& finding : findings) {
      if (finding.launch != view.number || finding.row < 0 || finding.column < 0) continue;
      if (pool != nullptr && finding.pool != pool->name) continue;
      mark(out, finding);
    }
    size_up(out);
    return out;
  }

  static void size_up(TableGrid& out) {
    for (const RowView& row : out.rows) {
      for (const CellView& cell : row.cells) {
        const bool other = cell.right && *cell.right != cell.id;
        if (cell.rule != kRuleCount && cell.right && !other) ++out.lucky;
        out.any_other_right = out.any_other_right || other;
        // An arrow stands before what should be there.
        out.widest = std::max({out.widest, cell.id, other ? *cell.right * 10 : 0});
      }
    }
  }

  static void mark(TableGrid& out, const Finding& finding) {
    const auto r = static_cast<std::size_t>(finding.row);
    const auto c = static_cast<std::size_t>(finding.column);
    if (r >= out.rows.size() || c >= out.rows[r].cells.size()) return;
    CellView& cell = out.rows[r].cells[c];
    if (cell.rule == kRuleCount) ++out.broken;
    cell.rule = std::min(cell.rule, static_cast<std::uint8_t>(finding.rule));
  }

  RowView row(const World& world, const Pool* pool, const Lane& lane, TableGrid& table) const {
    RowView out{.label = lane.req == kNone ? "padding" : s(lane.req), .len = lane.len, .cells = {}};
    const std::int64_t live = table.window > 0 ? lane.q_pos + 1 - table.window : 0;
    const std::int64_t begin = live > 0 ? live / table.tokens : 0;
    const std::int64_t end =
        (std::max<std::int64_t>(lane.len, 0) + table.tokens - 1) / table.tokens;
    const std::int64_t held = std::min(lane.held(), TableGrid::kMostColumns);
    for (std::int64_t j = 0; j < held; ++j) {
      CellView& to = out.cells.emplace_back();
      Cell cell;
      if (!lane.entry(j, cell)) continue;
      std::int64_t logical = j + lane.first;
      if (lane.logical != nullptr && j < static_cast<std::int64_t>(lane.logical->size())) {
        logical = (*lane.logical)[static_cast<std::size_t>(j)];
      }
      to.id = raw(cell.page);
      to.kind = lane.req == kNone ? CellKind::kPadding
                : logical >= end  ? CellKind::kTail
                : logical < begin ? CellKind::kLeftWindow
                                  : CellKind::kLive;
      if (pool != nullptr) stand(world, *pool, lane.req, logical, table, to);
    }
    return out;
  }

  static std::uint32_t number_of(TableGrid& table, const std::string& owner) {
    const auto it = std::ranges::find(table.owners, owner);
    const auto number = static_cast<std::uint32_t>(it - table.owners.begin());
    if (it == table.owners.end()) table.owners.push_back(owner);
    return number + 1;
  }
  // Who owns the page, and which page it ought to be.
  void stand(const World& world, const Pool& pool, Name req, std::int64_t logical, TableGrid& table,
             CellView& to) const {
    to.outside = to.id < 0 || to.id >= table.bound;
    const std::int64_t page = to.id * table.tokens / pool.page_size;
    if (!to.outside && page < pool.pages) {
      const Name owner = world.space_of(pool).info(PageId{static_cast<std::int32_t>(page)}).owner;
      if (owner != kNone) to.owner = number_of(table, s(owner));
    }
    const std::int64_t entries = pool.page_size / table.tokens;
    if (to.kind != CellKind::kLive || entries < 1) return;
    if (const auto right = right_page(world, pool, req, logical / entries)) {
      to.right = raw(*right) * entries + logical % entries;
    }
  }

  const Names& names_;
  const std::optional<std::size_t> wanted_;
  Moment& out_;
  std::int64_t rank_ = State::kNoRank;
  StaleUses stale_;  // Of this event.
  bool found_ = false;
};

// Launches up to this event; one that was not read with the whole trace is seen at itself.
std::optional<EventIndex> first_use(const Known& known, const StaleUses& here, std::int64_t rank,
                                    const std::string& backend, const std::string& attr,
                                    EventIndex since, EventIndex at) {
  const EventIndex first = std::min(known.stale.first(rank, backend, attr, since),
                                    here.first(rank, backend, attr, since));
  if (first <= at) return first;
  if (known.stale.full() || at > known.read_to) return std::nullopt;
  return kNever;
}

void tell_event(const Event& event, const Names& names, Look& look, Moment& out) {
  out.is_event = true;
  out.kind = kKindNames[event.kind()];
  out.sentence = describe(event, names);
  out.json = print_event(event, names);
  out.source = names.text(event.src);
  if (event.t.has_value()) out.t = *event.t;
  out.findings_total = look.judge().findings().total();
  for (const Finding& finding : look.judge().findings().sorted()) {
    out.findings.push_back({.rule = finding.rule,
                            .place = place_of(finding, names),
                            .message = finding.message,
                            .launch = finding.launch,
                            .row = finding.row,
                            .column = finding.column});
  }
}

}  // namespace

Moment look_at(Seeker& place, const Known& known, EventIndex at,
               std::optional<std::size_t> launch) {
  Moment out;
  Timeline& timeline = *place.timeline;
  const Names& names = place.names;
  (void)timeline.seek(std::min(at, timeline.end()));  // At the end or behind damage: where it led.
  out.at = timeline.at();
  const Event* event = timeline.event();
  Look look(names, known.rules, launch, out);
  if (event != nullptr) {
    State state = timeline.state();
    (void)state.apply(*event, &look);
    tell_event(*event, names, look, out);
  }
  const State& now = timeline.state();
  std::int64_t rank = event == nullptr ? State::kNoRank : event->rank.value_or(State::kNoRank);
  const World* world = now.world(rank);
  if (world == nullptr && !now.worlds().empty()) {
    rank = now.worlds().begin()->first;
    world = &now.worlds().begin()->second;
  }
  if (world == nullptr) return out;
  out.step = world->step;
  const auto first = [&](Name backend, const Fact& fact, EventIndex since) {
    return first_use(known, look.stale(), rank, std::string(names.text(backend)),
                     std::string(names.text(fact.attr)), since, out.at);
  };
  const auto* launch_of = event == nullptr ? nullptr : std::get_if<ev::GraphLaunch>(&event->body);
  out.state = blocks_of(*world, names, first, launch_of == nullptr ? kNone : launch_of->graph);
  return out;
}

}  // namespace pagetape
