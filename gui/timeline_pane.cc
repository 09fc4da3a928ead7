// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>

#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {

float gutter_of(const Ink& ink, const Viewer& viewer, float most) {
  float wide = ink.px(138);
  for (const LaneView& lane : viewer.lanes()) {
    wide = std::max(wide, ImGui::CalcTextSize(lane.name.c_str()).x);
  }
  return std::floor(std::min(wide + ink.px(14), most));
}

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
  if (ImGui::IsItemActive() && ImGui::IsMouseDragging(0, 3) && !io.KeyShift) {
    viewer.pan(-io.MouseDelta.x / size.x * viewer.axis().span());
  }
}

bool axis_clicked() {
  const ImVec2 moved = ImGui::GetMouseDragDelta(0, 3);
  return ImGui::IsItemDeactivated() && ImGui::IsItemHovered() && ImGui::IsMouseReleased(0) &&
         moved.x == 0 && moved.y == 0;
}

namespace {

// Lanes from the top down, all over one axis. Bars and bands are drawn into one raster; words and
// signs stand above it.
class Lanes {
 public:
  Lanes(Ink& ink, const Viewer& viewer, Rect rect, Image& image)
      : ink_(ink),
        viewer_(viewer),
        draw_(ImGui::GetWindowDrawList()),
        image_(image),
        left_(std::floor(rect.at.x + ink.gutter)),
        top_(std::floor(rect.at.y)),
        y_(top_),
        bottom_(rect.at.y + rect.size.y),
        width_(std::floor(std::max(rect.at.x + rect.size.x - left_, 1.0F))),
        origin_(rect.at.x) {
    ink_.place(image_, {left_, top_}, {width_, rect.size.y}, ink_.theme.panel);
  }

  void title(const std::string& text, float height, Tone tone = Tone::kPlain) {
    const float middle = std::floor(y_ + (height - ImGui::GetTextLineHeight()) / 2);
    ink_.put({origin_ + ink_.px(4), middle}, ink_.gutter - ink_.px(10), text, ink_.tone(tone));
    ink_.note(text);
  }
  void overview();
  void ruler();
  void lane(const LaneView& lane);
  void variants();
  void bookmarks();
  void differences();
  void range();
  void unread();
  void cursor();
  void finish(std::size_t left_out);
  float needs() const { return needs_; }  // Pixels for all that was drawn or left out.
  float y() const { return y_; }
  float left() const { return left_; }
  float width() const { return width_; }
  // For a lane, and behind it, if it is not the last, for saying that there are more.
  bool has_room(bool last) const { return y_ + row() * (last ? 1 : 2) <= bottom_; }
  float row() const { return std::floor(ImGui::GetTextLineHeight() + ink_.px(4)); }

 private:
  void draw(const LaneView& lane);
  std::string under(const LaneView& lane, float x, double down) const;
  void steps(const LaneView& lane);
  void density(const LaneView& lane);
  void band(const LaneView& lane);
  void operations(const LaneView& lane);
  void findings(const LaneView& lane);
  void requests(const LaneView& lane);
  void incidents(const LaneView& lane);
  void name_of(const LaneView& lane, Tone tone = Tone::kPlain);
  float x_of(double event) const {
    return left_ + static_cast<float>(viewer_.axis().x_of(event, width_));
  }
  bool in_view(float x) const { return x >= left_ && x <= left_ + width_; }
  void bar(float x0, float y0, float x1, float y1, ImU32 colour) {
    image_.raster.fill(x0 - left_, y0 - top_, x1 - left_, y1 - top_, colour);
  }
  void next(float height) { next(height, height); }
  void next(float height, float wanted) {
    y_ += std::floor(height) + std::floor(ink_.px(2));
    needs_ += std::floor(wanted) + std::floor(ink_.px(2));
  }

  Ink& ink_;
  const Viewer& viewer_;
  ImDrawList* draw_;
  Image& image_;
  float left_, top_, y_, bottom_, width_, origin_, needs_ = 0;
};

// The whole run: where findings are, and what part is in view.
void Lanes::overview() {
  const TraceIndex& index = viewer_.index();
  const float height = ink_.px(18);
  title("whole trace", height, Tone::kDim);
  bar(left_, y_, left_ + width_, y_ + height, ink_.theme.empty);
  const double events = viewer_.axis().events();
  for (float x = 0; x < width_; ++x) {
    const double begin = x / width_ * events, end = (x + 1) / width_ * events;
    if (index.finding_density.count(begin, end) <= 0.01) continue;
    bar(left_ + x, y_ + ink_.px(5), left_ + x + 1, y_ + height, ink_.theme.bad);
  }
  const auto place = [&](double event) {
    return left_ + static_cast<float>(event / events) * width_;
  };
  draw_->AddRect({place(viewer_.axis().begin()), y_}, {place(viewer_.axis().end()), y_ + height},
                 ink_.theme.text);
  const float here = place(static_cast<double>(viewer_.selected()));
  ink_.cut(here, y_, y_ + height, ink_.theme.selection);
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
  title(viewer_.index().timed ? "event  ·  time" : "event", height, Tone::kDim);
  const Axis& axis = viewer_.axis();
  for (double tick :
       ticks_of(axis.begin(), axis.end(),
                static_cast<int>(width_ / ink_.px(viewer_.index().timed ? 170 : 110)))) {
    const float x = x_of(tick);
    bar(x, y_ + height - ink_.px(4), x + 1, y_ + height, ink_.theme.dim);
    const auto event = static_cast<EventIndex>(tick);
    const std::string time = viewer_.time_of(event);
    const std::string text = grouped(event) + (time.empty() ? "" : "  ·  " + time);
    const float room = left_ + width_ - x - ink_.px(4);
    if (ImGui::CalcTextSize(text.c_str()).x > room) continue;
    ink_.put({std::floor(x + ink_.px(4)), y_ + ink_.px(1)}, room, text, ink_.theme.dim);
  }
  next(height);
}

void Lanes::lane(const LaneView& lane) {
  const float top = y_;
  draw(lane);
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  if (!ImGui::IsWindowHovered() || !in_view(mouse.x) || mouse.y < top || mouse.y >= y_) return;
  const std::string told = under(lane, mouse.x, static_cast<double>(mouse.y - top) / (y_ - top));
  if (!told.empty()) ImGui::SetTooltip("%s", told.c_str());
}

void Lanes::draw(const LaneView& lane) {
  switch (lane.kind) {
    case LaneKind::kSteps:
      return steps(lane);
    case LaneKind::kFindings:
      return findings(lane);
    case LaneKind::kIncidents:
      return incidents(lane);
    case LaneKind::kDensity:
      return density(lane);
    case LaneKind::kBand:
      return band(lane);
    case LaneKind::kCount:
      return operations(lane);
    case LaneKind::kRequests:
      return requests(lane);
  }
}

// What a lane says at a place: `down` from 0 at its top to 1.
std::string Lanes::under(const LaneView& lane, float x, double down) const {
  const Axis& axis = viewer_.axis();
  const double a_pixel = axis.span() / width_, at = axis.event_at(x - left_, width_);
  const auto event = static_cast<EventIndex>(std::clamp(at, 0.0, axis.events() - 1));
  const std::string here = lane.name + " at event " + grouped(event) + ": ";
  switch (lane.kind) {
    case LaneKind::kBand: {
      const Span span = lane.track->at(event);
      if (span.value == 0) return "";
      return here + lane.index->word(span.value) + (span.flagged ? ", stale" : "");
    }
    case LaneKind::kCount:
      return here + std::to_string(lane.track->at(event).value);
    case LaneKind::kDensity: {
      const auto count = static_cast<std::uint64_t>(
          std::round(lane.density->count(at - a_pixel / 2, at + a_pixel / 2)));
      return count == 0 ? "" : here + grouped(count);
    }
    case LaneKind::kSteps: {
      const StepStart* step = lane.index->step_at(event);
      return step == nullptr ? ""
                             : "step " + std::to_string(step->step) + ' ' +
                                   std::string(lane.names->text(step->mode));
    }
    case LaneKind::kRequests: {
      const auto row = static_cast<std::uint32_t>(down * lane.index->life_rows);
      const auto life = std::ranges::find_if(lane.index->lives, [&](const RequestLife& l) {
        return l.row == row && l.begin <= event && event < l.end;
      });
      if (life == lane.index->lives.end()) return "";
      return "request " + viewer_.text(life->req) + ", from event " + grouped(life->begin) +
             (life->end == kNever ? " on" : " to " + grouped(life->end));
    }
    case LaneKind::kFindings: {
      std::string out;
      const double reach = a_pixel * ink_.px(6);
      const auto& groups = lane.index->findings;
      for (std::size_t i =
               lane.index->first_finding_from(static_cast<EventIndex>(std::max(0.0, at - reach)));
           i < groups.size() && static_cast<double>(groups[i].event) < at + reach; ++i) {
        if (!viewer_.shows(groups[i])) continue;
        if (std::ranges::count(out, '\n') >= 8) return out + "\n…";
        out += (out.empty() ? "" : "\n") + std::string(info(groups[i].rule).name) + " at event " +
               grouped(groups[i].event) + ", " + counted(groups[i].count, "place");
      }
      return out;
    }
    case LaneKind::kIncidents:
      break;
  }
  return "";
}

// A click on a lane's name pins it; with the right button it is hidden.
void Lanes::name_of(const LaneView& lane, Tone tone) {
  const ImVec2 at{origin_, y_};
  ImGui::SetCursorScreenPos(at);
  ImGui::PushID(lane.name.c_str());
  if (ImGui::InvisibleButton(
          "name", {std::max(ink_.gutter - ink_.px(6), 1.0F), row()},
          ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight)) {
    ink_.run((ImGui::IsMouseReleased(1) ? "hide-lane " : "pin-lane ") + lane.name);
  }
  ImGui::PopID();
  if (ImGui::IsItemHovered()) {
    draw_->AddRectFilled(at, {left_ - ink_.px(6), y_ + row()}, ink_.theme.hover);
    ImGui::SetTooltip("%s\nclick: %s, right click: hide", lane.name.c_str(),
                      lane.pinned ? "unpin" : "pin on top");
  }
  if (lane.pinned) {
    draw_->AddRectFilled({origin_, y_ + ink_.px(2)},
                         {origin_ + ink_.px(2), y_ + row() - ink_.px(2)}, ink_.theme.selection);
  }
  title(lane.name, row(), tone);
}

void Lanes::steps(const LaneView& lane) {
  const std::vector<StepStart>& steps = lane.index->steps;
  const float height = row();
  name_of(lane, Tone::kDim);
  const Axis& axis = viewer_.axis();
  auto it =
      std::ranges::upper_bound(steps, static_cast<EventIndex>(axis.begin()), {}, &StepStart::event);
  if (it != steps.begin()) --it;
  float drawn = left_ - 1;
  for (; it != steps.end() && static_cast<double>(it->event) < axis.end(); ++it) {
    const auto following = std::next(it);
    const EventIndex end = following == steps.end() ? lane.index->events : following->event;
    const float x0 = std::max(left_, x_of(static_cast<double>(it->event)));
    const float x1 = std::min(left_ + width_, x_of(static_cast<double>(end)));
    if (x1 < drawn + ink_.px(2)) continue;  // Gathered into the one before.
    drawn = x1;
    bar(x0, y_, std::max(x0 + 1, x1 - 1), y_ + height, ink_.theme.grid);
    if (x1 - x0 < ink_.px(24)) continue;
    const std::string number = std::to_string(it->step);
    const std::string mode(lane.names->text(it->mode));
    const bool roomy = x1 - x0 > ink_.px(90) && !mode.empty();
    ink_.put({std::floor(x0 + ink_.px(4)), y_ + ink_.px(2)}, x1 - x0 - ink_.px(6),
             roomy ? number + "  " + mode : number, ink_.theme.text);
  }
  next(height);
}

void Lanes::density(const LaneView& lane) {
  const float height = row();
  name_of(lane);
  const ImU32 colours[] = {ink_.theme.link, ink_.theme.good, ink_.theme.dim, ink_.theme.bad};
  const ImU32 colour = colours[static_cast<std::size_t>(lane.tint)];
  const Axis& axis = viewer_.axis();
  const double a_pixel = axis.span() / width_;
  double most = 1e-9;
  std::vector<double> counts(static_cast<std::size_t>(width_));
  for (std::size_t x = 0; x < counts.size(); ++x) {
    const double begin = axis.begin() + static_cast<double>(x) * a_pixel;
    counts[x] = lane.density->count(begin, begin + a_pixel);
    most = std::max(most, counts[x]);
  }
  for (std::size_t x = 0; x < counts.size(); ++x) {
    if (counts[x] <= 1e-6) continue;
    const auto tall = static_cast<float>(0.25 + 0.75 * counts[x] / most) * height;
    const float at = left_ + static_cast<float>(x);
    bar(at, y_ + height - tall, at + 1, y_ + height, colour);
    const double begin = axis.begin() + static_cast<double>(x) * a_pixel;
    if (lane.marks == nullptr || lane.marks->count(begin, begin + a_pixel) <= 0.01) continue;
    bar(at, y_, at + 1, y_ + ink_.px(4), ink_.theme.bad);
  }
  next(height);
}

void Lanes::band(const LaneView& lane) {
  const float height = row();
  const bool stale_here = lane.track->at(viewer_.selected()).flagged;
  name_of(lane, stale_here ? Tone::kBad : Tone::kPlain);
  for (const Span& span : lane.track->spans(viewer_.axis(), width_, 2)) {
    if (span.value == 0) continue;
    const ImVec2 a{left_ + static_cast<float>(span.x0), y_};
    const ImVec2 b{left_ + static_cast<float>(std::max(span.x1 - 1, span.x0 + 1)), y_ + height};
    const ImU32 colour = ink_.value(span.value);
    bar(a.x, a.y, b.x, b.y, (colour & ~IM_COL32_A_MASK) | (span.mixed ? 0x70000000U : 0xb8000000U));
    if (span.flagged) {
      bar(a.x, a.y, b.x, a.y + ink_.px(4), ink_.theme.bad);
      bar(a.x, b.y - ink_.px(4), b.x, b.y, ink_.theme.bad);
    }
    if (span.mixed) continue;
    // A letter or two and an ellipsis say nothing.
    const std::string text = (span.flagged ? "STALE: " : "") + lane.index->word(span.value);
    const float room = b.x - a.x - ink_.px(7);
    if (room < std::min(ink_.px(52), ImGui::CalcTextSize(text.c_str()).x)) continue;
    ink_.put({std::floor(a.x + ink_.px(5)), y_ + ink_.px(2)}, room, text, ink_.theme.strong);
  }
  next(height);
}

void Lanes::findings(const LaneView& lane) {
  const TraceIndex& index = viewer_.index();
  const float height = row();
  name_of(lane, Tone::kBad);
  const Axis& axis = viewer_.axis();
  float drawn = left_ - ink_.px(7);
  for (std::size_t i = index.first_finding_from(static_cast<EventIndex>(axis.begin()));
       i < index.findings.size(); ++i) {
    const FindingGroup& group = index.findings[i];
    if (static_cast<double>(group.event) >= axis.end()) break;
    const float x = x_of(static_cast<double>(group.event) + 0.5);
    if (x < drawn + ink_.px(6) || !viewer_.shows(group)) continue;
    drawn = x;
    const float r = ink_.px(5);
    draw_->AddTriangleFilled({x - r, y_ + ink_.px(2)}, {x + r, y_ + ink_.px(2)},
                             {x, y_ + height - ink_.px(2)}, ink_.theme.bad);
  }
  next(height);
}

// A bar a request; names where they fit.
void Lanes::requests(const LaneView& lane) {
  // Those below it need room where it is pinned.
  const float height = (bottom_ - y_ - ink_.px(2)) * (lane.pinned ? 0.4F : 1.0F);
  const TraceIndex& index = viewer_.index();
  if (height < row()) return;
  name_of(lane);
  const float each =
      std::clamp(height / static_cast<float>(std::max(index.life_rows, 1U)), 1.0F, row());
  for (const RequestLife& life : index.lives) {
    const EventIndex end = life.end == kNever ? index.events : life.end;
    const float x0 = std::max(left_, x_of(static_cast<double>(life.begin)));
    const float x1 = std::min(left_ + width_, x_of(static_cast<double>(end)));
    const float top = std::floor(y_ + static_cast<float>(life.row) * each);
    if (x1 <= x0 || top + each > y_ + height + 1) continue;
    const float gap = each > 4 ? 1.0F : 0.0F;
    bar(x0, top, std::max(x1 - 1, x0 + 1), top + each - gap, ink_.owner(life.req));
    if (each >= ImGui::GetTextLineHeight() && x1 - x0 > ink_.px(18)) {
      ink_.put(
          {std::floor(x0 + ink_.px(4)), std::floor(top + (each - ImGui::GetTextLineHeight()) / 2)},
          x1 - x0 - ink_.px(6), viewer_.text(life.req), Ink::on(ink_.owner(life.req)));
    }
  }
  const auto rows = static_cast<float>(index.life_rows);
  next(std::min(height, each * rows), row() * rows);
}

void Lanes::incidents(const LaneView& lane) {
  name_of(lane, Tone::kBad);
  float drawn = left_ - 2;
  for (const Incident& incident : lane.index->incidents) {
    const float x = x_of(static_cast<double>(incident.event) + 0.5);
    if (!in_view(x)) continue;
    bar(x - 1, y_, x + 1, y_ + row(), ink_.theme.bad);
    if (x < drawn) continue;
    drawn = x + ImGui::CalcTextSize(incident.text.c_str()).x + ink_.px(12);
    // To the left where there is no room to the right.
    const float wide = ImGui::CalcTextSize(incident.text.c_str()).x + ink_.px(6);
    const bool turned = x + wide > left_ + width_ && x - wide > left_;
    ink_.put({turned ? x - wide : x + ink_.px(4), y_ + ink_.px(2)}, left_ + width_ - x + wide,
             incident.text, ink_.theme.bad);
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
    if (!in_view(x)) continue;
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
    if (!in_view(x)) continue;
    ink_.cut(x, y_, y_ + row(), ink_.theme.selection);
    draw_->AddTriangleFilled({x, y_}, {x + ink_.px(8), y_ + ink_.px(4)}, {x, y_ + ink_.px(8)},
                             ink_.theme.selection);
    ink_.put({x + ink_.px(11), y_ + ink_.px(2)}, left_ + width_ - x - ink_.px(12), mark.note,
             ink_.theme.text);
    ink_.note("bookmark at event " + std::to_string(mark.event) + ' ' + mark.note);
  }
  next(row());
}

// How many asynchronous operations are pending.
void Lanes::operations(const LaneView& lane) {
  const float height = row();
  name_of(lane);
  for (const Span& span : lane.track->spans(viewer_.axis(), width_, 1)) {
    if (span.value == 0) continue;
    const float x0 = left_ + static_cast<float>(span.x0);
    const float x1 = left_ + static_cast<float>(std::max(span.x1, span.x0 + 1));
    bar(x0, y_ + ink_.px(2), x1, y_ + height - ink_.px(2),
        (ink_.value(2) & ~IM_COL32_A_MASK) | 0xb0000000U);
    if (x1 - x0 > ink_.px(20) && !span.mixed) {
      ink_.put({std::floor(x0 + ink_.px(4)), y_ + ink_.px(2)}, x1 - x0, std::to_string(span.value),
               ink_.theme.strong);
    }
  }
  next(height);
}

// Steps that differ from those of the other trace: marked here, and shaded all the way down. The
// first is drawn as a sign.
void Lanes::differences() {
  if (viewer_.compared_path().empty()) return;
  title("differences", row(), viewer_.differing().empty() ? Tone::kDim : Tone::kBad);
  const Comparison* comparison = viewer_.comparison();
  if (comparison != nullptr && comparison->differing.empty()) {
    const char* what = comparison->report.status.ok() ? "none: both say the same" : "not compared";
    ink_.put({left_ + ink_.px(4), y_ + ink_.px(2)}, width_, what, ink_.theme.dim);
    ink_.note(what);
  }
  const ImU32 shade = (ink_.theme.bad & ~IM_COL32_A_MASK) | 0x20000000U;
  for (const Span& span : viewer_.differing().spans(viewer_.axis(), width_, 1)) {
    if (span.value == 0 && !span.mixed) continue;
    const float x0 = left_ + static_cast<float>(span.x0), x1 = left_ + static_cast<float>(span.x1);
    bar(x0, y_ + ink_.px(2), x1, y_ + row() - ink_.px(2), ink_.theme.bad);
    bar(x0, y_ + row(), x1, bottom_, shade);
  }
  if (comparison != nullptr && !comparison->differing.empty()) {
    const EventIndex first = comparison->differing.front();
    const float x = x_of(static_cast<double>(first) + 0.5), r = ink_.px(5);
    ink_.note("first difference at event " + std::to_string(first));
    if (in_view(x)) {
      const float middle = y_ + row() / 2;
      draw_->AddQuadFilled({x - r, middle}, {x, middle - r}, {x + r, middle}, {x, middle + r},
                           ink_.theme.strong);
    }
  }
  next(row());
}

// What is measured is shaded.
void Lanes::range() {
  const auto& range = viewer_.range();
  if (!range) return;
  const float x0 = x_of(static_cast<double>(range->begin));
  const float x1 = x_of(static_cast<double>(range->end));
  bar(x0, top_, x1, bottom_, (ink_.theme.link & ~IM_COL32_A_MASK) | 0x30000000U);
  for (const float x : {x0, x1}) {
    if (in_view(x)) ink_.cut(x, top_, bottom_, ink_.theme.link);
  }
}

// What was not read yet is shaded.
void Lanes::unread() {
  if (viewer_.index().whole()) return;
  const float x = std::max(left_, x_of(static_cast<double>(viewer_.index().read_to)));
  if (x >= left_ + width_) return;
  bar(x, top_, left_ + width_, bottom_, ink_.theme.hover);
  ink_.put({x + ink_.px(8), bottom_ - row()}, left_ + width_ - x - ink_.px(10), "not read yet",
           ink_.theme.dim);
  ink_.note("not read yet: from event " + grouped(viewer_.index().read_to));
}

void Lanes::cursor() {
  const float x = x_of(static_cast<double>(viewer_.selected()) + 0.5);
  if (in_view(x)) ink_.cut(x, top_, bottom_, ink_.theme.selection);
}

void Lanes::finish(std::size_t left_out) {
  unread();
  range();
  cursor();
  Ink::upload(image_);
  if (left_out == 0) return;
  const std::string text = counted(left_out, "more lane") + ": drag the edge below, or hide some";
  needs_ += (row() + std::floor(ink_.px(2))) * static_cast<float>(left_out);
  ink_.put({origin_ + ink_.px(4), bottom_ - ImGui::GetTextLineHeight()}, left_ + width_ - origin_,
           text, ink_.theme.bad);
  ink_.note(text);
}

// What the mouse does where events are: select, and with Shift a range.
void mouse(Ink& ink, Viewer& viewer, ImVec2 at, ImVec2 size) {
  const ImGuiIO& io = ImGui::GetIO();
  const auto event_at = [&](float x) {
    const double event = viewer.axis().event_at(x - at.x, size.x);
    return std::to_string(static_cast<EventIndex>(
        std::clamp(event, 0.0, static_cast<double>(viewer.index().events))));
  };
  drag_axis(viewer, at, size);
  const float from = io.MouseClickedPos[0].x;
  if (ImGui::IsItemActive() && io.KeyShift && ImGui::IsMouseDragging(0, 3)) {
    ink.run("range " + event_at(from) + ' ' + event_at(io.MousePos.x));
  }
  if (axis_clicked()) ink.run("goto " + event_at(io.MousePos.x));
}

}  // namespace

void draw_timeline(Ink& ink, Viewer& viewer, Rect rect, Arrangement& arrangement) {
  std::string note = "events " + grouped(static_cast<std::uint64_t>(viewer.axis().begin())) +
                     " to " + grouped(static_cast<std::uint64_t>(viewer.axis().end()));
  if (!viewer.measured().empty()) note += "  ·  range: " + viewer.measured();
  if (!viewer.lane_choice().filter.empty()) {
    note += "  ·  lanes with \"" + viewer.lane_choice().filter + "\" (l shows all)";
  }
  if (ink.begin("Timeline", note, rect.at, rect.size)) {
    const Stopwatch watch(ink.images_ms);
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = ImGui::GetContentRegionAvail();
    Lanes lanes(ink, viewer, {at, size}, arrangement.timeline);
    lanes.overview();
    const float top = lanes.y();
    lanes.ruler();
    lanes.variants();
    lanes.bookmarks();
    lanes.differences();
    std::size_t left_out = 0;
    const std::vector<LaneView> all = viewer.lanes();
    for (const LaneView& lane : all) {
      left_out == 0 && lanes.has_room(&lane == &all.back()) ? lanes.lane(lane) : void(++left_out);
    }
    lanes.finish(left_out);
    arrangement.timeline_needs = at.y - rect.at.y + lanes.needs() + ink.px(8);
    mouse(ink, viewer, {lanes.left(), top}, {lanes.width(), at.y + size.y - top});
  }
  ink.end();
}

}  // namespace pagetape
