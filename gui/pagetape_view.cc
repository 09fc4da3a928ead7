// SPDX-License-Identifier: Apache-2.0
// The viewer, a program of its own: `pagetape view` runs it.
#include <imgui.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>

#include "gui/app/loader.h"
#include "gui/app/scale.h"
#include "gui/app/side_file.h"
#include "gui/measure.h"
#include "gui/picture.h"
#include "gui/screens.h"
#include "gui/viewer_frame.h"

namespace pagetape {
namespace {

struct Flags {
  std::string trace, screenshot, size = "1920x1080", script, texts, layout = "crash",
                                 theme = "dark", compare;
  std::optional<EventIndex> at;
  float scale = 0;
  bool follow = false, measure = false;
};

int fail(const Status& status) {
  std::fprintf(stderr, "pagetape view: %s\n", status.message().c_str());
  return status.code() == Code::kDamaged ? 3 : 2;
}

// The crash layout: the first finding, blamed, and what is around it.
void lay_out(Viewer& viewer, const Flags& flags) {
  if (flags.theme == "light") viewer.run("theme");
  if (flags.at) {
    if (!viewer.run("goto " + std::to_string(*flags.at))) return;
  } else if (flags.screenshot.empty() || !flags.script.empty()) {
    return;
  } else if (!viewer.run("next-finding")) {
    viewer.run("last");  // Where everything is declared, and nothing stands out.
  }
  if (viewer.seeking() || !viewer.moment().findings.empty()) viewer.run("blame");
}

Status run_script(Viewer& viewer, const std::string& path) {
  std::ifstream file(path);
  if (!file) return usage(path + ": cannot be read");
  std::uint64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (!viewer.run(line)) {
      return usage(path + ':' + std::to_string(number) + ": " + viewer.message());
    }
  }
  return {};
}

int run_offscreen(const Flags& flags) {
  Picture picture{.png = flags.screenshot};
  char x = 0;
  if (std::sscanf(flags.size.c_str(), "%d%c%d", &picture.width, &x, &picture.height) != 3 ||
      x != 'x' || std::min(picture.width, picture.height) < 320 ||
      std::max(picture.width, picture.height) > 16384) {
    return fail(usage("--size takes WxH, from 320 to 16384 pixels"));
  }
  picture.scale = flags.scale > 0 ? flags.scale : scale_of_picture(picture.width, picture.height);
  Status status;
  if (flags.measure) {
    std::string figures;
    status = measure_viewer(flags.trace, picture, figures);
    std::fputs(figures.c_str(), stdout);
    return status.ok() ? 0 : fail(status);
  }
  Loading loading;
  std::unique_ptr<OpenTrace> trace = load_trace(flags.trace, loading, status);
  if (trace == nullptr) return fail(status);
  Viewer viewer(std::move(trace));
  // What someone noted down is in pictures, too; how they looked at it last is not.
  Session session;
  if (const Status read = read_session(side_file_of(flags.trace), session); !read.ok()) {
    std::fprintf(stderr, "pagetape view: %s\n", read.message().c_str());
  }
  viewer.keep_bookmarks(std::move(session.bookmarks));
  lay_out(viewer, flags);
  if (!flags.compare.empty()) {
    viewer.compare_with(flags.compare);
    viewer.run("wait");
    if (!viewer.comparison()->report.status.ok()) return fail(viewer.comparison()->report.status);
  }
  if (!flags.script.empty()) {
    if (status = run_script(viewer, flags.script); !status.ok()) return fail(status);
  }
  std::string texts;
  if (status = draw_picture(viewer, picture, texts); !status.ok()) return fail(status);
  if (flags.texts == "-") {
    std::cout << texts;
  } else if (!flags.texts.empty() && !(std::ofstream(flags.texts) << texts)) {
    return fail(system_error(flags.texts + ": cannot be written"));
  }
  return 0;
}

// Until anything can be shown: that it is read, or why it cannot be.
void draw_waiting(const Loader& loader, bool dark, float scale) {
  set_style(dark, scale);
  ImGui::SetNextWindowPos({40 * scale, 40 * scale});
  ImGui::Begin("reading", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_AlwaysAutoResize);
  const Status status = loader.status();
  ImGui::TextUnformatted(status.ok() ? "Opening the trace" : status.message().c_str());
  if (status.ok()) ImGui::ProgressBar(static_cast<float>(loader.share()), {400 * scale, 0});
  ImGui::End();
}

std::unique_ptr<Viewer> begin_viewing(std::unique_ptr<OpenTrace> trace, const Flags& flags) {
  auto viewer = std::make_unique<Viewer>(std::move(trace), Lookup::Where::kThread);
  Session session = viewer->session();
  const Status read = read_session(side_file_of(flags.trace), session);
  viewer->restore(session);
  lay_out(*viewer, flags);
  if (!flags.compare.empty()) viewer->compare_with(flags.compare);
  if (!read.ok()) viewer->say(read.message());
  return viewer;
}

// Bookmarks are kept as they are set, the rest at the end.
void keep(Viewer& viewer, const Flags& flags) {
  const Status kept = write_session(side_file_of(flags.trace), viewer.session());
  if (!kept.ok()) viewer.say(kept.message());
}

int run_in_window(const Flags& flags) {
  Loader loader(flags.trace, flags.follow);
  std::unique_ptr<Viewer> viewer;
  Arrangement arrangement;
  Fonts fonts;
  std::vector<Bookmark> kept;
  const auto prepare = [&](float wanted) {
    const float chosen = viewer == nullptr ? 0 : viewer->scale();
    fit_fonts(fonts, chosen > 0 ? chosen : flags.scale > 0 ? flags.scale : wanted);
  };
  const auto frame = [&] {
    if (std::unique_ptr<OpenTrace> trace = loader.take()) {
      if (viewer == nullptr) {
        viewer = begin_viewing(std::move(trace), flags);
        kept = viewer->bookmarks();
      } else {
        viewer->adopt(std::move(trace));
      }
    }
    if (viewer == nullptr) {
      draw_waiting(loader, flags.theme == "dark", fonts.scale);
      return Next::kAtOnce;
    }
    draw_frame(*viewer, arrangement, fonts);
    if (viewer->bookmarks() != kept) {
      kept = viewer->bookmarks();
      keep(*viewer, flags);
    }
    if (viewer->quit()) return Next::kEnd;
    return viewer->busy() ? Next::kAtOnce : Next::kWait;
  };
  const Status shown = run_window("pagetape: " + flags.trace, prepare, frame);
  if (!shown.ok()) return fail(shown);
  if (viewer == nullptr) return loader.status().ok() ? 0 : fail(loader.status());
  const Status last = write_session(side_file_of(flags.trace), viewer->session());
  if (!last.ok()) std::fprintf(stderr, "pagetape view: %s\n", last.message().c_str());
  return 0;
}

}  // namespace
}  // namespace pagetape

int main(int argc, char** argv) {
  pagetape::Flags flags;
  CLI::App app{"pagetape view: see the page pool over time, and who did it", "pagetape view"};
  app.add_option("TRACE", flags.trace, "A binary or text trace")->required();
  app.add_option("--screenshot", flags.screenshot, "Draw a picture (PNG), without a screen")
      ->type_name("FILE");
  app.add_option("--size", flags.size, "Of the picture, in pixels")
      ->type_name("WxH")
      ->capture_default_str();
  app.add_option("--at", flags.at, "Begin at this event (a picture: at the first finding)")
      ->type_name("EVENT");
  app.add_option("--compare", flags.compare, "Another trace of the same work, on the same axis")
      ->type_name("FILE");
  app.add_option("--layout", flags.layout, "crash: the finding, and what led to it")
      ->check(CLI::IsMember({"crash"}))
      ->capture_default_str();
  app.add_option("--script", flags.script, "Run the commands of a file, without a screen")
      ->type_name("FILE");
  app.add_option("--texts", flags.texts, "Write what the panes say, without a screen; -: to stdout")
      ->type_name("FILE");
  app.add_option("--theme", flags.theme, "dark or light")
      ->check(CLI::IsMember({"dark", "light"}))
      ->capture_default_str();
  app.add_option("--scale", flags.scale,
                 "Of all sizes (default: the monitor's; of a picture, by its size)")
      ->check(CLI::Range(pagetape::kLeastScale, pagetape::kMostScale));
  app.add_flag("--follow", flags.follow, "Go on reading while the file grows");
  app.add_flag("--measure", flags.measure,
               "Say how fast this is: a scripted tour, drawn without a screen");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const bool offscreen =
      !flags.screenshot.empty() || !flags.script.empty() || !flags.texts.empty() || flags.measure;
  return offscreen ? pagetape::run_offscreen(flags) : pagetape::run_in_window(flags);
}
