// SPDX-License-Identifier: Apache-2.0
// What panes draw with: colours, fonts, and words that are noted down as they are drawn.
#pragma once

#include <imgui.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "gui/app/phrase.h"
#include "gui/app/raster.h"
#include "traces/ids.h"
#include "verify/rules.h"

namespace pagetape {

// Okabe and Ito's eight colours, told apart by all kinds of colour-blindness, on dark or light.
struct Theme {
  ImU32 back, panel, line, grid, text, dim, strong, link, good, bad, selection, hover, empty;
  static const Theme& of(bool dark);
};

// A raster and its texture, kept from frame to frame. The texture goes with its OpenGL context.
struct Image {
  Raster raster;
  unsigned texture = 0;
  int width = 0, height = 0;  // Of the texture.
};

// Adds to a sum of milliseconds, from here to the end of the scope.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum) {}
  ~Stopwatch() { sum_ += std::chrono::duration<double, std::milli>(Clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& sum_;
  const Clock::time_point begin_ = Clock::now();
};

// One frame's pen. Clicks become commands, which run after the frame.
class Ink {
 public:
  Ink(const Theme& theme, float scale, ImFont* strong, ImFont* mono)
      : theme(theme), scale(scale), strong(strong), mono(mono) {}

  const Theme& theme;
  const float scale;  // Of all sizes in pixels.
  ImFont* const strong;
  ImFont* const mono;
  std::vector<std::string> commands;  // That clicks asked for.
  std::string texts;                  // What was drawn, a line each, by pane.
  float gutter = 0;                   // Width of names to the left of what shows the axis.
  double images_ms = 0;               // That looking up and drawing rasters took.

  // Begins a pane in a rectangle; its title is drawn. Each needs an end(). `above`: over others.
  bool begin(const char* title, const std::string& note, ImVec2 at, ImVec2 size,
             bool above = false);
  void end();

  // A large opaque area, by glClear: software rendering is some 20 times faster at that than at
  // triangles, which take their white from the font's texture.
  void fill(ImVec2 a, ImVec2 b, ImU32 colour);
  // Makes the raster so large and of one colour, and shows it from here on; what is drawn into it
  // until upload() is seen.
  Raster& place(Image& image, ImVec2 at, ImVec2 size, ImU32 back);
  static void upload(Image& image);
  // Upright, from `top` to `bottom`.
  void cut(float x, float top, float bottom, ImU32 colour);

  void write(const Line& line);
  void write(std::string_view text, Tone tone = Tone::kPlain);
  void write(const Block& block);
  // Drawn at a place; cut with an ellipsis where it is wider than `width`.
  void put(ImVec2 at, float width, std::string_view text, ImU32 colour, ImFont* font = nullptr);
  void note(std::string_view text);  // As if drawn.
  void run(std::string command) { commands.push_back(std::move(command)); }

  void write(const std::vector<Chain>& chains);
  void link_over(const Phrase& phrase, ImU32 colour);

  ImU32 tone(Tone tone) const;
  // By a name: the same name always has the same colour.
  ImU32 owner(Name name) const;
  ImU32 value(std::uint32_t value) const;
  ImU32 rule(Rule rule) const;
  static ImU32 on(ImU32 colour);  // Black or white, whichever is read better on it.
  ImU32 heat(float share) const;  // Dark blue to yellow as it goes from 0 to 1.
  float px(float size) const { return size * scale; }
  float line_height() const { return ImGui::GetTextLineHeightWithSpacing(); }
};

// A number with its unit's name: "1 launch", "2,024 findings".
std::string counted(std::uint64_t n, std::string_view what);

}  // namespace pagetape
