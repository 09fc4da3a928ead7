// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>

#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {

float gutter(const Ink& ink) { return ink.px(148); }

void drag_axis(Viewer& viewer, ImVec2 at, ImVec2 size) {
  const ImGuiIO& io = ImGui::GetIO();
  ImGui::SetCursorScreenPos(at);
  ImGui::InvisibleButton("axis", {std::max(size.x, 1.0F), std::max(size.y, 1.0F)},
                         ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight);
  if (ImGui::IsItemActivated()) viewer.begin_gesture();
  if (ImGui::IsItemHovered() && io.MouseWheel != 0) {
    const double under = viewer.axis().event_at(io.MousePos.x - at.x, size.x);
    viewer.zoom(std::pow(0.8, io.MouseWheel), under);
  }
  if (ImGui::IsItemActive() && ImGui::IsMouseDragging(0, 3)) {
    viewer.pan(-io.MouseDelta.x / size.x * viewer.axis().span());
  }
}

namespace {

// Lanes from the top down, all over one axis.
class Lanes {
 public:
  Lanes(Ink& ink, const Viewer& viewer, Rect rect)
      : ink_(ink),
        viewer_(viewer),
        draw_(ImGui::GetWindowDrawList()),
        left_(rect.at.x + gutter(ink)),
        y_(rect.at.y),
        width_(rect.size.x - gutter(ink)),
        origin_(rect.at.x) {}

  void title(const std::string& text, float height, Tone tone = Tone::kPlain) {
    const float middle = y_ + (height - ImGui::GetTextLineHeight()) / 2;
    ink_.put({origin_ + ink_.px(4), middle}, gutter(ink_) - ink_.px(10), text, ink_.tone(tone));
    ink_.note(text);
  }
  void overview();
  void ruler();
  void steps();
  void density(const std::string& name, const Density& density, ImU32 colour);
  void band(const std::string& name, const Track& track);
  void findings();
  void requests(float height);
  void incidents();
  void variants();
  void bookmarks();
  void streams();
  void operations();
  void unread(float top, float bottom);
  void cursor(float top, float bottom);
  float y() const { return y_; }
  float row() const { return std::floor(ImGui::GetTextLineHeight() + ink_.px(4)); }

 private:
  float x_of(double event) const {
    return left_ + static_cast<float>(viewer_.axis().x_of(event, width_));
  }
  void next(float height) { y_ += height + ink_.px(2); }

  Ink& ink_;
  const Viewer& viewer_;
  ImDrawList* draw_;
  float left_, y_, width_, origin_;
};

// The whole run: where findings are, and what part is in view.
void Lanes::overview() {
  const TraceIndex& index = viewer_.index();
  const float height = ink_.px(18);
  title("whole trace", height, Tone::kDim);
  draw_->AddRectFilled({left_, y_}, {left_ + width_, y_ + height}, ink_.theme.empty);
  const double events = viewer_.axis().events();
  for (float x = 0; x < width_; ++x) {
    const double begin = x / width_ * events, end = (x + 1) / width_ * events;
    if (index.finding_density.count(begin, end) <= 0.01) continue;
    draw_->AddRectFilled({left_ + x, y_ + ink_.px(5)}, {left_ + x + 1, y_ + height},
                         ink_.theme.bad);
  }
  const auto place = [&](double event) {
    return left_ + static_cast<float>(event / events) * width_;
  };
  draw_->AddRect({place(viewer_.axis().begin()), y_}, {place(viewer_.axis().end()), y_ + height},
                 ink_.theme.text);
  const float here = place(static_cast<double>(viewer_.selected()));
  draw_->AddRectFilled({here - 1, y_}, {here + 1, y_ + height}, ink_.theme.selection);
  ImGui::SetCursorScreenPos({left_, y_});
  if (ImGui::InvisibleButton("overview", {std::max(width_, 1.0F), height})) {
    const double share = (ImGui::GetIO().MousePos.x - left_) / width_;
    ink_.run("goto " +
             std::to_string(static_cast<EventIndex>(std::clamp(share, 0.0, 1.0) * (events - 1))));
  }
  next(height);
}

void Lanes::ruler() {
  const float height = row();
  title("event", height, Tone::kDim);
  const Axis& axis = viewer_.axis();
  for (double tick : ticks_of(axis.begin(), axis.end(), static_cast<int>(width_ / ink_.px(110)))) {
    const float x = x_of(tick);
    draw_->AddLine({x, y_ + height - ink_.px(4)}, {x, y_ + height}, ink_.theme.dim);
    ink_.put({x + ink_.px(4), y_ + ink_.px(1)}, left_ + width_ - x,
             grouped(static_cast<std::uint64_t>(tick)), ink_.theme.dim);
  }
  next(height);
}

void Lanes::steps() {
  const std::vector<StepStart>& steps = viewer_.index().steps;
  if (steps.empty()) return;
  const float height = row();
  title("step", height, Tone::kDim);
  const Axis& axis = viewer_.axis();
  auto it =
      std::ranges::upper_bound(steps, static_cast<EventIndex>(axis.begin()), {}, &StepStart::event);
  if (it != steps.begin()) --it;
  float drawn = left_ - 1;
  for (; it != steps.end() && static_cast<double>(it->event) < axis.end(); ++it) {
    const auto following = std::next(it);
    const EventIndex end = following == steps.end() ? viewer_.index().events : following->event;
    const float x0 = std::max(left_, x_of(static_cast<double>(it->event)));
    const float x1 = std::min(left_ + width_, x_of(static_cast<double>(end)));
    if (x1 < drawn + ink_.px(2)) continue;  // Gathered into the one before.
    drawn = x1;
    draw_->AddRectFilled({x0, y_}, {std::max(x0 + 1, x1 - 1), y_ + height}, ink_.theme.grid);
    if (x1 - x0 < ink_.px(24)) continue;
    const std::string number = std::to_string(it->step);
    const std::string mode = viewer_.text(it->mode);
    const bool roomy = x1 - x0 > ink_.px(90) && !mode.empty();
    ink_.put({x0 + ink_.px(4), y_ + ink_.px(2)}, x1 - x0 - ink_.px(6),
             roomy ? number + "  " + mode : number, ink_.theme.text);
  }
  next(height);
}

void Lanes::density(const std::string& name, const Density& density, ImU32 colour) {
  const float height = row();
  title(name, height);
  const Axis& axis = viewer_.axis();
  const double a_pixel = axis.span() / width_;
  double most = 1e-9;
  std::vector<double> counts(static_cast<std::size_t>(std::max(width_, 1.0F)));
  for (std::size_t x = 0; x < counts.size(); ++x) {
    const double begin = axis.begin() + static_cast<double>(x) * a_pixel;
    counts[x] = density.count(begin, begin + a_pixel);
    most = std::max(most, counts[x]);
  }
  for (std::size_t x = 0; x < counts.size(); ++x) {
    if (counts[x] <= 1e-6) continue;
    const auto tall = static_cast<float>(0.25 + 0.75 * counts[x] / most) * height;
    const float at = left_ + static_cast<float>(x);
    draw_->AddRectFilled({at, y_ + height - tall}, {at + 1, y_ + height}, colour);
  }
  next(height);
}

void Lanes::band(const std::string& name, const Track& track) {
  const float height = row();
  const bool stale_here = track.at(viewer_.selected()).flagged;
  title(name, height, stale_here ? Tone::kBad : Tone::kPlain);
  for (const Span& span : track.spans(viewer_.axis(), width_, 2)) {
    if (span.value == 0) continue;
    const ImVec2 a{left_ + static_cast<float>(span.x0), y_};
    const ImVec2 b{left_ + static_cast<float>(std::max(span.x1 - 1, span.x0 + 1)), y_ + height};
    const ImU32 colour = ink_.value(span.value);
    draw_->AddRectFilled(a, b,
                         (colour & ~IM_COL32_A_MASK) | (span.mixed ? 0x70000000U : 0xb8000000U));
    if (span.flagged) {
      draw_->AddRectFilled(a, {b.x, a.y + ink_.px(4)}, ink_.theme.bad);
      draw_->AddRectFilled({a.x, b.y - ink_.px(4)}, b, ink_.theme.bad);
    }
    if (b.x - a.x < ink_.px(20) || span.mixed) continue;
    const std::string text = (span.flagged ? "STALE: " : "") + viewer_.index().word(span.value);
    ink_.put({a.x + ink_.px(5), y_ + ink_.px(2)}, b.x - a.x - ink_.px(7), text, ink_.theme.strong);
  }
  next(height);
}

void Lanes::findings() {
  const TraceIndex& index = viewer_.index();
  if (index.total == 0) return;
  const float height = row();
  title("findings", height, Tone::kBad);
  const Axis& axis = viewer_.axis();
  float drawn = left_ - ink_.px(4);
  for (std::size_t i = index.first_finding_from(static_cast<EventIndex>(axis.begin()));
       i < index.findings.size(); ++i) {
    const FindingGroup& group = index.findings[i];
    if (static_cast<double>(group.event) >= axis.end()) break;
    if (!viewer_.shows(group)) continue;
    const float x = x_of(static_cast<double>(group.event) + 0.5);
    if (x < drawn + ink_.px(3)) continue;
    drawn = x;
    const float r = ink_.px(5);
    draw_->AddTriangleFilled({x - r, y_ + ink_.px(2)}, {x + r, y_ + ink_.px(2)},
                             {x, y_ + height - ink_.px(2)}, ink_.theme.bad);
  }
  next(height);
}

// A bar a request; names where they fit.
void Lanes::requests(float height) {
  const TraceIndex& index = viewer_.index();
  if (index.lives.empty() || height < row()) return;
  title("requests", row());
  const float each =
      std::clamp(height / static_cast<float>(std::max(index.life_rows, 1U)), 1.0F, row());
  for (const RequestLife& life : index.lives) {
    const EventIndex end = life.end == kNever ? index.events : life.end;
    const float x0 = std::max(left_, x_of(static_cast<double>(life.begin)));
    const float x1 = std::min(left_ + width_, x_of(static_cast<double>(end)));
    const float top = y_ + static_cast<float>(life.row) * each;
    if (x1 <= x0 || top + each > y_ + height + 1) continue;
    const float gap = each > 4 ? 1.0F : 0.0F;
    draw_->AddRectFilled({x0, top}, {std::max(x1 - 1, x0 + 1), top + each - gap},
                         ink_.owner(life.req));
    if (each >= ImGui::GetTextLineHeight() && x1 - x0 > ink_.px(18)) {
      ink_.put({x0 + ink_.px(4), top + (each - ImGui::GetTextLineHeight()) / 2},
               x1 - x0 - ink_.px(6), viewer_.text(life.req), IM_COL32(255, 255, 255, 255));
    }
  }
  next(std::min(height, each * static_cast<float>(index.life_rows)));
}

void Lanes::incidents() {
  const std::vector<Incident>& incidents = viewer_.index().incidents;
  if (incidents.empty()) return;
  title("errors", row(), Tone::kBad);
  for (const Incident& incident : incidents) {
    const float x = x_of(static_cast<double>(incident.event) + 0.5);
    if (x < left_ || x > left_ + width_) continue;
    draw_->AddRectFilled({x - 1, y_}, {x + 1, y_ + row()}, ink_.theme.bad);
    ink_.put({x + ink_.px(4), y_ + ink_.px(2)}, left_ + width_ - x, incident.text, ink_.theme.bad);
    ink_.note(incident.text);
  }
  next(row());
}

// Where the variants of what-if first read a wrong page.
void Lanes::variants() {
  std::map<EventIndex, std::string> firsts;
  for (const VariantLine& line : viewer_.what_if().lines) {
    if (!line.first) continue;
    std::string& names = firsts[*line.first];
    names += (names.empty() ? "" : ", ") + line.words[0];
  }
  if (firsts.empty()) return;
  title("what if, first wrong", row());
  for (auto it = firsts.begin(); it != firsts.end(); ++it) {
    const float x = x_of(static_cast<double>(it->first) + 0.5);
    if (x < left_ || x > left_ + width_) continue;
    const float r = ink_.px(5), middle = y_ + row() / 2;
    draw_->AddQuadFilled({x - r, middle}, {x, middle - r}, {x + r, middle}, {x, middle + r},
                         ink_.theme.link);
    const auto following = std::next(it);
    const float end =
        following == firsts.end() ? left_ + width_ : x_of(static_cast<double>(following->first));
    ink_.put({x + ink_.px(8), y_ + ink_.px(2)}, end - x - ink_.px(10), it->second, ink_.theme.text);
    ink_.note("first wrong read at event " + std::to_string(it->first) + ": " + it->second);
  }
  next(row());
}

void Lanes::bookmarks() {
  if (viewer_.bookmarks().empty()) return;
  title("bookmarks", row());
  for (const Bookmark& mark : viewer_.bookmarks()) {
    const float x = x_of(static_cast<double>(mark.event) + 0.5);
    if (x < left_ || x > left_ + width_) continue;
    draw_->AddLine({x, y_}, {x, y_ + row()}, ink_.theme.selection, ink_.px(1.5F));
    draw_->AddTriangleFilled({x, y_}, {x + ink_.px(8), y_ + ink_.px(4)}, {x, y_ + ink_.px(8)},
                             ink_.theme.selection);
    ink_.put({x + ink_.px(11), y_ + ink_.px(2)}, left_ + width_ - x - ink_.px(12), mark.note,
             ink_.theme.text);
    ink_.note("bookmark at event " + std::to_string(mark.event) + ' ' + mark.note);
  }
  next(row());
}

// One stream alone says nothing.
void Lanes::streams() {
  const std::vector<StreamLane>& streams = viewer_.index().streams;
  if (streams.size() < 2) return;
  for (const StreamLane& lane : streams) {
    density("stream " + std::to_string(lane.stream) + " events", lane.events, ink_.theme.dim);
  }
}

// How many asynchronous operations are pending.
void Lanes::operations() {
  const Track& ops = viewer_.index().ops;
  if (ops.empty()) return;
  const float height = row();
  title("pending operations", height);
  for (const Span& span : ops.spans(viewer_.axis(), width_, 1)) {
    if (span.value == 0) continue;
    const float x0 = left_ + static_cast<float>(span.x0);
    const float x1 = left_ + static_cast<float>(std::max(span.x1, span.x0 + 1));
    draw_->AddRectFilled({x0, y_ + ink_.px(2)}, {x1, y_ + height - ink_.px(2)},
                         (ink_.value(2) & ~IM_COL32_A_MASK) | 0xb0000000U);
    if (x1 - x0 > ink_.px(20) && !span.mixed) {
      ink_.put({x0 + ink_.px(4), y_ + ink_.px(2)}, x1 - x0, std::to_string(span.value),
               ink_.theme.strong);
    }
  }
  next(height);
}

// What was not read yet is shaded.
void Lanes::unread(float top, float bottom) {
  if (viewer_.index().whole()) return;
  const float x = std::max(left_, x_of(static_cast<double>(viewer_.index().read_to)));
  if (x >= left_ + width_) return;
  draw_->AddRectFilled({x, top}, {left_ + width_, bottom}, ink_.theme.hover);
  ink_.put({x + ink_.px(8), bottom - row()}, left_ + width_ - x - ink_.px(10), "not read yet",
           ink_.theme.dim);
  ink_.note("not read yet: from event " + grouped(viewer_.index().read_to));
}

void Lanes::cursor(float top, float bottom) {
  const auto line = [&](EventIndex event, ImU32 colour) {
    const float x = x_of(static_cast<double>(event) + 0.5);
    if (x >= left_ && x <= left_ + width_)
      draw_->AddLine({x, top}, {x, bottom}, colour, ink_.px(1.5F));
  };
  line(viewer_.selected(), ink_.theme.selection);
  if (viewer_.measured_from() != kNever) line(viewer_.measured_from(), ink_.theme.link);
}

}  // namespace

void draw_timeline(Ink& ink, Viewer& viewer, Rect rect) {
  const TraceIndex& index = viewer.index();
  const std::string note = "events " + grouped(static_cast<std::uint64_t>(viewer.axis().begin())) +
                           " to " + grouped(static_cast<std::uint64_t>(viewer.axis().end())) +
                           (viewer.measured().empty() ? "" : "  ·  measured: " + viewer.measured());
  if (ink.begin("Timeline", note, rect.at, rect.size)) {
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = ImGui::GetContentRegionAvail();
    Lanes lanes(ink, viewer, {at, size});
    lanes.overview();
    const float top = lanes.y();
    lanes.ruler();
    lanes.steps();
    lanes.findings();
    lanes.incidents();
    lanes.variants();
    lanes.bookmarks();
    if (index.backends.empty()) lanes.density("launches", index.summary, ink.theme.link);
    for (const BackendLane& lane : index.backends) {
      const std::string name = viewer.text(lane.name);
      lanes.density(name + " launches", lane.launches, ink.theme.link);
      if (!lane.pool.empty()) lanes.band(name + " pool bound", lane.pool);
      if (!lane.swa.empty()) lanes.band(name + " swa_state", lane.swa);
    }
    for (std::size_t g = 0; g < index.graphs.size() && g < 3; ++g) {
      const std::string name = "graph " + viewer.text(index.graphs[g].name);
      lanes.density(name, index.graphs[g].launches, ink.theme.good);
    }
    lanes.streams();
    lanes.operations();
    lanes.requests(at.y + size.y - lanes.y() - ink.px(2));
    const float left = at.x + gutter(ink);
    lanes.unread(top, at.y + size.y);
    lanes.cursor(top, at.y + size.y);
    drag_axis(viewer, {left, top}, {size.x - gutter(ink), at.y + size.y - top});
    const float x = ImGui::GetIO().MousePos.x - left;
    if (ImGui::IsItemHovered() && ImGui::IsMouseReleased(0) &&
        ImGui::GetMouseDragDelta(0, 3).x == 0) {
      const double event = viewer.axis().event_at(x, size.x - gutter(ink));
      ink.run("goto " + std::to_string(static_cast<EventIndex>(std::max(event, 0.0))));
    }
  }
  ink.end();
}

}  // namespace pagetape
