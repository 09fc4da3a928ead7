// SPDX-License-Identifier: Apache-2.0
#include <GLFW/glfw3.h>
#include <backends/imgui_impl_glfw.h>
#include <backends/imgui_impl_opengl3.h>
#include <imgui.h>

#include "gui/app/scale.h"
#include "gui/screens.h"

namespace pagetape {

static std::string last_error() {
  const char* why = nullptr;
  glfwGetError(&why);
  return why == nullptr ? "no reason given" : why;
}

static float scale_wanted(GLFWwindow* window) {
  float content = 1;
  int width = 0, pixels = 0;
  glfwGetWindowContentScale(window, &content, nullptr);
  glfwGetWindowSize(window, &width, nullptr);
  glfwGetFramebufferSize(window, &pixels, nullptr);
  return scale_of_window(content, width, pixels);
}

Status run_window(const std::string& title, const std::function<void(float)>& prepare,
                  const std::function<Next()>& frame) {
  if (glfwInit() == GLFW_FALSE) {
    return system_error("no window can be opened (" + last_error() +
                        "): --screenshot FILE draws without a screen");
  }
  glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
  glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 2);
  glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
  glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
  GLFWwindow* window = glfwCreateWindow(1600, 900, title.c_str(), nullptr, nullptr);
  if (window == nullptr) {
    const std::string why = last_error();
    glfwTerminate();
    return system_error("no window with OpenGL 3.2 can be opened (" + why +
                        "): --screenshot FILE draws without a screen");
  }
  glfwMakeContextCurrent(window);
  glfwSwapInterval(1);
  ImGui::CreateContext();
  ImGui::GetIO().IniFilename = nullptr;
  ImGui_ImplGlfw_InitForOpenGL(window, true);
  ImGui_ImplOpenGL3_Init("#version 150");
  for (Next then = Next::kWait;
       then != Next::kEnd && glfwWindowShouldClose(window) == GLFW_FALSE;) {
    then == Next::kAtOnce ? glfwPollEvents() : glfwWaitEventsTimeout(0.5);
    for (int settle = 0; then != Next::kEnd && settle < 2; ++settle) {
      prepare(scale_wanted(window));
      ImGui_ImplOpenGL3_NewFrame();
      ImGui_ImplGlfw_NewFrame();
      ImGui::NewFrame();
      then = frame();
      ImGui::Render();
      int width = 0, height = 0;
      glfwGetFramebufferSize(window, &width, &height);
      glViewport(0, 0, width, height);
      const ImVec4 back = ImGui::GetStyle().Colors[ImGuiCol_MenuBarBg];
      glClearColor(back.x, back.y, back.z, 1);
      glClear(GL_COLOR_BUFFER_BIT);
      ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
      glfwSwapBuffers(window);
    }
  }
  ImGui_ImplOpenGL3_Shutdown();
  ImGui_ImplGlfw_Shutdown();
  ImGui::DestroyContext();
  glfwDestroyWindow(window);
  glfwTerminate();
  return {};
}

}  // namespace pagetape
