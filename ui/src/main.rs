//! The page, started in a browser. Elsewhere it is a library that tests render.

fn main() {
    #[cfg(target_arch = "wasm32")]
    {
        console_error_panic_hook::set_once();
        dioxus::web::launch::launch(ui::App, Vec::new(), Vec::new());
    }
}
