// SPDX-License-Identifier: Apache-2.0
// What a viewer shows and what its commands do. Knows no window: keys, the palette, links and
// scripts all end in run().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gui/app/comparison.h"
#include "gui/app/lane_view.h"
#include "gui/app/lookup.h"
#include "gui/app/palette.h"
#include "gui/app/side_file.h"
#include "gui/app/what_if_run.h"

namespace pagetape {

struct Command {
  std::string_view name, arguments;
  std::string_view key;  // As it is typed ("n"), or a key's name ("Left"); empty: none.
  std::string_view help;
};
std::span<const Command> viewer_commands();

// What the pool map's colours mean.
enum class Colours : std::uint8_t { kOwner, kAge, kSpace, kWriter };
inline constexpr std::string_view kColours[] = {"owner", "age", "space", "writer"};

// What stands below the pool map.
enum class LowPane : std::uint8_t { kTable, kWhatIf, kCompare };

// Events that are measured, [begin, end).
struct EventRange {
  EventIndex begin = 0, end = 0;
  bool operator==(const EventRange&) const = default;
};

// A finding's line in the list.
struct FindingItem {
  std::size_t group = 0;  // Index of TraceIndex::findings.
  bool here = false;      // At the event selected.
};

class Viewer {
 public:
  // In a thread: what an event says comes some frames after it was selected.
  explicit Viewer(std::unique_ptr<OpenTrace> trace, Lookup::Where where = Lookup::Where::kHere);

  // Takes another state of knowledge of the same trace: more of it was read, or it grew.
  void adopt(std::unique_ptr<OpenTrace> trace);

  // Runs "goto 268", "next-finding", … False where it cannot be done: message() says why.
  bool run(std::string_view line);
  // The command of a key; nothing where it has none.
  std::optional<std::string_view> command_of(std::string_view key) const;

  const OpenTrace& trace() const { return *trace_; }
  const TraceIndex& index() const { return trace_->index; }
  std::string text(Name name) const { return std::string(trace_->names.text(name)); }

  // Counts what was adopted: as long as it stays, so does the index.
  std::uint64_t generation() const { return generation_; }

  EventIndex selected() const { return selected_; }
  // Of the event selected; while that is sought, of the one before.
  const Moment& moment() const { return moment_; }
  bool seeking() const { return lookup_->progress().has_value(); }
  // "seeking event 268: 43% (x stops)", once it takes long enough to be read; else empty.
  std::string seeking_text() const;
  void wait();  // Until what is sought is there.
  const Explanation& explanation() const { return explanation_; }
  // The explanation in words: one block, a line a link.
  const Block& explained() const { return explained_; }
  const Axis& axis() const { return axis_; }
  std::optional<EventRange> range() const;
  std::string measured() const;  // What the range holds, in words.
  // Of the step that an event is in, since the first step: "12.3 ms". Empty: not known.
  std::string time_of(EventIndex event) const;

  std::vector<LaneView> lanes() const;
  const LaneChoice& lane_choice() const { return lane_choice_; }

  const std::array<bool, kRuleCount>& rules() const { return rules_; }
  // Findings of other layers and requests are hidden; empty: of none.
  const std::string& only_layer() const { return only_layer_; }
  const std::string& only_request() const { return only_request_; }
  // Whether the filters let a group through. One of which it is not known is let through.
  bool shows(const FindingGroup& group) const;
  // Groups that the filter lets through: `count` of them from number `from`.
  std::size_t findings_shown() const { return shown_.size(); }
  std::size_t events_shown() const { return events_shown_; }  // An event may break several rules.
  FindingItem finding(std::size_t number) const;
  // Rules that could not be judged, and what for: once the whole trace is read.
  const Block& not_checked() const { return not_checked_; }
  // The number of the first that is at the selected event or behind it.
  std::size_t finding_number() const;

  LowPane pane() const { return pane_; }
  // The variants of what-if; empty before it was asked for.
  const WhatIfTold& what_if() const { return what_if_; }

  // Compares, in a thread.
  bool compare_with(const std::string& path);
  const std::string& compared_path() const { return compared_path_; }          // Empty: with none.
  const Comparison* comparison() const { return compared_.comparison.get(); }  // Null: not yet.
  const Track& differing() const { return differing_; }  // 1 in steps that differ.
  Block compared_block() const;                          // The comparison in words.

  // Once a frame, with the time since the last: plays, and takes what background work found out.
  void tick(double seconds);
  // Something goes on by itself: frames are to follow.
  bool busy() const {
    return playing_ || seeking() || (what_if_run_ != nullptr && !what_if_run_->over()) ||
           (compare_run_ != nullptr && compared_.comparison == nullptr);
  }
  bool playing() const { return playing_; }

  Colours colours() const { return colours_; }
  const std::vector<Bookmark>& bookmarks() const { return bookmarks_; }
  // What is to be kept in the side file, and taken from there.
  Session session() const;
  void restore(const Session& session);
  void keep_bookmarks(std::vector<Bookmark> bookmarks);

  const std::string& message() const { return message_; }
  void say(std::string message) { message_ = std::move(message); }
  bool dark() const { return dark_; }
  float scale() const { return scale_; }  // That was chosen; 0: none, the screen's.
  bool helping() const { return helping_; }
  bool quit() const { return quit_; }

  bool palette_open() const { return palette_open_; }
  std::vector<PaletteItem> palette(std::string_view typed, std::size_t most) const;

  // Of the mouse: the same as commands, without words between. A drag is one change to undo.
  void zoom(double factor, double at);
  void pan(double events);
  void begin_gesture() { remember(); }
  // Text to put on the clipboard, once.
  std::string take_copied() { return std::exchange(copied_, {}); }

 private:
  using Words = std::vector<std::string>;
  void offer_typed(std::string_view typed, std::vector<PaletteItem>& items) const;
  void offer_places(std::vector<PaletteItem>& items) const;
  void offer_choices(std::vector<PaletteItem>& items) const;
  bool fail(std::string why);
  bool go(EventIndex event);
  bool go_word(const Words& words);
  bool go_request(const Words& words);
  bool go_declared(const Words& words);
  bool go_finding(bool forward);
  bool go_step(bool forward);
  bool go_launch(bool forward);
  bool view(std::string_view name);
  bool blame(const Words& words);
  bool follow(const Words& words);
  bool filter(const Words& words);
  bool toggle(std::string_view name);
  bool measure(std::string_view name, const Words& words);
  bool choose_lanes(std::string_view name, const Words& words);
  bool only(const Words& words);
  bool colour(const Words& words);
  bool size(const Words& words);
  bool bookmark(const Words& words);
  bool go_bookmark(bool forward);
  bool play();
  bool background(std::string_view name);
  bool show(LowPane pane);
  bool go_difference(bool forward);
  void take_compared();
  void mark_differing();
  bool copy(const Words& words);
  void select(EventIndex event, std::optional<std::size_t> launch,
              std::optional<Ask> ask = std::nullopt);
  bool collect();
  void take_why(Explanation&& why);
  void remember();
  void show_findings();
  void say_what_was_not_checked();

  std::unique_ptr<OpenTrace> trace_;
  std::uint64_t generation_ = 0;
  std::unique_ptr<Lookup> lookup_;
  double sought_ = 0;  // Seconds.
  EventIndex selected_ = 0;
  Axis axis_;
  std::vector<Axis> axes_;  // Before changes, the last at the end.
  Moment moment_;
  Explanation explanation_;
  Block explained_;
  std::vector<EventIndex> visited_;    // Events selected before.
  EventIndex measured_from_ = kNever;  // To the event selected.
  std::optional<EventRange> range_;    // Before that.
  LaneChoice lane_choice_;
  std::array<bool, kRuleCount> rules_;
  std::vector<std::size_t> shown_;  // Indices of TraceIndex::findings.
  std::size_t events_shown_ = 0;
  std::string only_layer_, only_request_;
  Block not_checked_;
  Colours colours_ = Colours::kOwner;
  std::vector<Bookmark> bookmarks_;  // By event.
  bool playing_ = false;
  double played_ = 0;  // Seconds since the last step of it.
  std::unique_ptr<WhatIfRun> what_if_run_;
  WhatIfTold what_if_;
  LowPane pane_ = LowPane::kTable;
  std::unique_ptr<CompareRun> compare_run_;
  CompareTold compared_;
  std::string compared_path_;
  Track differing_;
  std::string message_, copied_;
  float scale_ = 0;
  bool dark_ = true, helping_ = false, palette_open_ = false, quit_ = false;
};

}  // namespace pagetape
