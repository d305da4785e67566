// The page's only script of its own: everything else is compiled from Rust.
import start from "./ui.js";

start({ module_or_path: "/ui_bg.wasm" }).catch((error) => {
  document.getElementById("main").textContent = `The page could not start: ${error}`;
});
