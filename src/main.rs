//! The binary. All logic is in the library.

#[global_allocator]
static WIPES_WHAT_IS_FREED: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    sealift::main()
}
