//! The product's binary, `darkroom`.

fn main() -> std::process::ExitCode {
    cli::main()
}
