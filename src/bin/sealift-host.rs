//! The program on hosts. It contains no decisions, and links only what it uses.

#[global_allocator]
static WIPES_WHAT_IS_FREED: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    sealift::host()
}
