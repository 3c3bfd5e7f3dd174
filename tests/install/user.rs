//! A user's own secrets: in a runtime directory, private to the user, without a mount.

use crate::harness::Sandbox;

#[test]
fn a_users_secrets_are_the_users_alone() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let Some(place) = sandbox.root("runtime") else { return };
    let token = sandbox.seal("token", &["--hosts", "web"]);
    std::fs::create_dir_all(place.path("user")).expect("a folder");
    let runtime = place.path("user");
    sandbox.allow(&runtime);
    let shown = runtime.to_str().expect("UTF-8");
    let manifest = sandbox.sealift(&["manifest", "web"]).exits(0).text();
    std::fs::write(sandbox.path("m.json"), &manifest).expect("written");
    let path = sandbox.path("m.json");
    let install = |options: &[&str]| {
        let key = sandbox.key("web");
        let mut arguments = vec!["install", path.to_str().expect("UTF-8"), "--user-dir", shown, "--identity", &key];
        arguments.extend(options);
        sandbox.sealift(&arguments)
    };
    // Nothing is put on a disk, or into a directory that others can enter.
    let mode = |mode: &str| sandbox.tool("chmod", &[mode, shown]);
    mode("0755");
    install(&[]).exits(1).says("is not a directory of one user alone").says("XDG_RUNTIME_DIR");
    mode("0700");
    let on_disk = !String::from_utf8_lossy(&sandbox.tool("stat", &["-f", "-c", "%T", shown])).contains("tmpfs");
    if on_disk {
        install(&[]).exits(1).says("is on a disk");
    }
    sandbox.tool("mount", &["-t", "tmpfs", "-o", "mode=0700", "tmpfs", shown]);
    install(&["--strict=live"]).exits(0).says("1 new or changed");
    let delivered = runtime.join("sealift/token");
    assert_eq!(std::fs::read_to_string(&delivered).expect("it is there"), token);
    let access = sandbox.tool("stat", &["-L", "-c", "%a %u", runtime.join("sealift.d").to_str().expect("UTF-8")]);
    assert_eq!(String::from_utf8_lossy(&access).trim(), format!("700 {}", rustix::process::geteuid().as_raw()));
    let status = std::fs::read_to_string(runtime.join("sealift.d/status.json")).expect("a status");
    assert!(status.contains(&format!("\"path\": \"{}\"", delivered.display())), "{status}");
    install(&["--strict=live"]).exits(0).says("1 unchanged");
    // Another user's secrets, or ones with their own path, are not a user's to install.
    let with = |from: &str, to: &str| {
        assert!(manifest.contains(from));
        std::fs::write(sandbox.path("m.json"), manifest.replace(from, to)).expect("written");
        install(&["--strict"])
    };
    with("\"owner\": \"root\"", "\"owner\": \"4242\"").exits(1).says("token: it is for the user 4242");
    with("\"path\": \"/run/sealift/token\"", "\"path\": \"/etc/token\"").exits(1).says("in its usual place only");
    install(&["--root", "/"]).exits(2);
}
