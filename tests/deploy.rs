//! deploy, rollback and generations: real nix, real profile generations, a throw-away root.

use crate::harness::machine::{Machine, cannot_deploy};

#[test]
fn nix_a_first_deploy_delivers_and_boots() {
    if cannot_deploy("deploy: first deploy") {
        return;
    }
    let machine = Machine::new("{ }");
    let value = machine.seal("token", "first");
    let run = machine.deploy(&[]).exits(0).says("+ token (value 1)").says("no system is running there").says("takes effect at the next boot");
    assert!(run.stdout.is_empty(), "{}", run.text());
    assert_eq!(machine.secret("token").as_deref(), Some(value.as_str()));
    assert_eq!(machine.calls(), ["boot 0"]);
    machine.boot();
    assert_eq!(machine.secret("token").as_deref(), Some(value.as_str()), "its own unit delivers at boot: {}", machine.unit_log());
    machine.is_tidy();
    machine.stores_hold_no_value();
}
