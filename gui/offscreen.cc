// SPDX-License-Identifier: Apache-2.0
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GL/gl.h>
#include <stb_image_write.h>

#include <algorithm>
#include <array>

#include "gui/screens.h"

namespace pagetape {
namespace {

class Egl final : public Offscreen {
 public:
  ~Egl() override {
    if (display_ == EGL_NO_DISPLAY) return;
    eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
    if (surface_ != EGL_NO_SURFACE) eglDestroySurface(display_, surface_);
    if (context_ != EGL_NO_CONTEXT) eglDestroyContext(display_, context_);
    eglTerminate(display_);
  }

  Status start(int width, int height) {
    width_ = width;
    height_ = height;
    if (!open_display()) {
      return system_error(any_ ? "EGL has no OpenGL that draws off the screen"
                               : "there is no EGL display: pictures need EGL (on Debian: libegl1)");
    }
    const EGLint size[] = {EGL_WIDTH, width, EGL_HEIGHT, height, EGL_NONE};
    constexpr EGLint kVersion[] = {EGL_CONTEXT_MAJOR_VERSION, 3, EGL_CONTEXT_MINOR_VERSION, 2,
                                   EGL_NONE};
    surface_ = eglCreatePbufferSurface(display_, config_, size);
    context_ = eglCreateContext(display_, config_, EGL_NO_CONTEXT, kVersion);
    if (context_ == EGL_NO_CONTEXT) return system_error("EGL has no OpenGL 3.2");
    if (surface_ == EGL_NO_SURFACE || !eglMakeCurrent(display_, surface_, surface_, context_)) {
      return system_error("EGL cannot draw a picture of " + std::to_string(width) + " by " +
                          std::to_string(height) + " pixels");
    }
    return {};
  }

  std::vector<std::uint8_t> pixels() override {
    const auto row = static_cast<std::size_t>(width_) * 4;
    std::vector<std::uint8_t> out(row * static_cast<std::size_t>(height_));
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
    glReadPixels(0, 0, width_, height_, GL_RGBA, GL_UNSIGNED_BYTE, out.data());
    // OpenGL's first row is the lowest.
    for (std::size_t top = 0, low = static_cast<std::size_t>(height_) - 1; top < low;
         ++top, --low) {
      std::swap_ranges(out.begin() + static_cast<std::ptrdiff_t>(top * row),
                       out.begin() + static_cast<std::ptrdiff_t>((top + 1) * row),
                       out.begin() + static_cast<std::ptrdiff_t>(low * row));
    }
    for (std::size_t i = 3; i < out.size(); i += 4) out[i] = 255;
    return out;
  }

  Status write_png(const std::string& path) override {
    const std::vector<std::uint8_t> image = pixels();
    if (stbi_write_png(path.c_str(), width_, height_, 4, image.data(), width_ * 4) == 0) {
      return system_error(path + ": cannot be written");
    }
    return {};
  }

 private:
  // Takes a display that can draw OpenGL off the screen.
  bool take(EGLDisplay display) {
    constexpr EGLint kWanted[] = {EGL_SURFACE_TYPE,
                                  EGL_PBUFFER_BIT,
                                  EGL_RENDERABLE_TYPE,
                                  EGL_OPENGL_BIT,
                                  EGL_RED_SIZE,
                                  8,
                                  EGL_GREEN_SIZE,
                                  8,
                                  EGL_BLUE_SIZE,
                                  8,
                                  EGL_ALPHA_SIZE,
                                  8,
                                  EGL_NONE};
    EGLint major = 0, minor = 0, count = 0;
    if (display == EGL_NO_DISPLAY || !eglInitialize(display, &major, &minor)) return false;
    any_ = true;
    if (eglBindAPI(EGL_OPENGL_API) && eglChooseConfig(display, kWanted, &config_, 1, &count) &&
        count > 0) {
      display_ = display;
      return true;
    }
    eglTerminate(display);
    return false;
  }

  // Devices in the order of their drivers, in which GPUs come before software; then what needs
  // none.
  bool open_display() {
    const auto get_display = reinterpret_cast<PFNEGLGETPLATFORMDISPLAYEXTPROC>(
        eglGetProcAddress("eglGetPlatformDisplayEXT"));
    const auto get_devices =
        reinterpret_cast<PFNEGLQUERYDEVICESEXTPROC>(eglGetProcAddress("eglQueryDevicesEXT"));
    if (get_display != nullptr) {
      std::array<EGLDeviceEXT, 16> devices{};
      EGLint count = 0;
      if (get_devices == nullptr ||
          !get_devices(static_cast<EGLint>(devices.size()), devices.data(), &count)) {
        count = 0;
      }
      for (EGLint i = 0; i < count; ++i) {
        if (take(get_display(EGL_PLATFORM_DEVICE_EXT, devices[static_cast<std::size_t>(i)],
                             nullptr))) {
          return true;
        }
      }
      if (take(get_display(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, nullptr))) {
        return true;
      }
    }
    return take(eglGetDisplay(EGL_DEFAULT_DISPLAY));
  }

  int width_ = 0, height_ = 0;
  bool any_ = false;  // Display, whatever it can do.
  EGLDisplay display_ = EGL_NO_DISPLAY;
  EGLConfig config_ = nullptr;
  EGLSurface surface_ = EGL_NO_SURFACE;
  EGLContext context_ = EGL_NO_CONTEXT;
};

}  // namespace

std::unique_ptr<Offscreen> Offscreen::open(int width, int height, Status& status) {
  auto egl = std::make_unique<Egl>();
  status = egl->start(width, height);
  if (!status.ok()) return nullptr;
  return egl;
}

}  // namespace pagetape
