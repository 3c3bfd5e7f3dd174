//! age's own test vectors (C2SP CCTV), from the npm package `cctv-age` that `scripts/setup test` downloads: each goes
//! through `show` and `install`.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Run, not_run};
use crate::install::{Machine, entry};

/// The downloaded file, below the user's cache directory.
const FILE: &str = "sealift-test/cctv-age-0.2.0.js";

/// Vectors that open elsewhere and are refused here, each with the reason shown.
const REFUSED: [(&str, &str); 11] = [
    ("armor_hybrid", "post-quantum"),
    ("armor_scrypt", "it is sealed to a passphrase, not to keys"),
    ("armor_whitespace_outside", "it is not an age file"),
    ("hybrid", "post-quantum"),
    ("hybrid_and_x25519", "post-quantum"),
    ("hybrid_grease", "post-quantum"),
    ("hybrid_multiple_recipients", "post-quantum"),
    ("scrypt", "it is sealed to a passphrase, not to keys"),
    ("stream_257_chunks", "more than 16777216 are not read"),
    ("stream_257_chunks_full", "more than 16777216 are not read"),
    ("stream_258_chunks", "more than 16777216 are not read"),
];
/// A vector that can be shown but is not delivered: an empty value is no use to a unit.
const EMPTY: (&str, &str) = ("stream_empty_payload", "empty");

struct Vector {
    name: String,
    head: Vec<(String, String)>,
    file: Vec<u8>,
}

impl Vector {
    fn all(&self, key: &str) -> Vec<&str> {
        self.head.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    fn opens(&self) -> bool {
        self.all("expect") == ["success"]
    }

    fn fits(&self, payload: &[u8]) -> bool {
        let digest = Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.all("payload") == [digest]
    }
}

/// The vectors; `None`, with a note, if they were not downloaded.
fn vectors() -> Option<Vec<Vector>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let Some(text) = cache.and_then(|cache| std::fs::read_to_string(cache.join(FILE)).ok()) else {
        not_run("cctv", "the vectors of age were not fetched: `scripts/setup test` does it, where npm is");
        return None;
    };
    let parsed = text.split("// ../testdata/").skip(1).map(|part| {
        let name = part.lines().next().expect("a name").to_owned();
        let encoded = part.split("__toBinary(\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a vector");
        let bytes = BASE64_STANDARD.decode(encoded).expect("base64");
        let end = bytes.windows(2).position(|two| two == b"\n\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("text").lines();
        let head = head.map(|line| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned())));
        let mut vector = Vector { name, head: head.collect::<Option<_>>().expect("a head"), file: Vec::new() };
        if vector.all("compressed") == ["zlib"] {
            flate2::read::ZlibDecoder::new(&bytes[end + 2..]).read_to_end(&mut vector.file).expect("zlib");
        } else {
            vector.file = bytes[end + 2..].to_vec();
        }
        vector
    });
    let all: Vec<Vector> = parsed.collect();
    assert!(all.len() >= 143 && all.iter().filter(|vector| vector.opens()).count() >= 26, "{} vectors", all.len());
    Some(all)
}

/// Asserts an error that is reported and is no internal defect.
fn told(run: &Run, vector: &Vector) {
    assert!(!matches!(run.code, 0 | 70 | 101 | 128..) && run.stdout.is_empty(), "{}: {run:?}", vector.name);
    assert!(run.stderr.contains("error: ") && !run.stderr.contains("defect"), "{}: {}", vector.name, run.stderr);
}

#[test]
fn every_vector_of_age_opens_or_is_refused_and_nothing_of_it_is_delivered() {
    let Some(vectors) = vectors() else { return };
    let Some(machine) = Machine::new() else { return };
    let sandbox = &machine.sandbox;
    let mut standing = sandbox.seal("v", &["--hosts", "web"]).into_bytes();
    let manifest = machine.manifest(|manifest| entry(manifest, "v")["allow_unsealed"] = json!(true));
    machine.install_from(&manifest, &["--strict"]).exits(0);
    sandbox.age_key("other");
    let mut refused = Vec::new();
    for vector in &vectors {
        let name = vector.name.as_str();
        sandbox.write("secrets/v.age", &vector.file);
        let lines = vector.all("identity").join("\n");
        let key = if lines.is_empty() {
            sandbox.key("other")
        } else {
            let path = sandbox.key(name);
            let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).expect("new");
            std::io::Write::write_all(&mut file, format!("{lines}\n").as_bytes()).expect("written");
            path
        };
        let show = sandbox.sealift(&["show", "v", "-i", &key]);
        let install = ["install", &manifest, "--root", machine.root.shown(), "--identity", &key, "--strict"];
        let install = sandbox.sealift(&install);
        let delivered = || std::fs::read(machine.root.path("run/sealift/v")).expect("it is there");
        let why = REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, why)| *why);
        match (vector.opens(), why) {
            (true, None) => {
                let show = show.exits(0);
                assert!(vector.fits(&show.stdout), "{name}");
                if name == EMPTY.0 {
                    told(&install, vector);
                    install.says(EMPTY.1);
                } else {
                    install.exits(0);
                    standing = show.stdout;
                }
            }
            (true, Some(why)) => {
                told(&show, vector);
                told(&install, vector);
                assert!(show.stderr.contains(why) && install.stderr.contains(why), "{name}: {show:?} {install:?}");
                refused.push(name);
                if why == "post-quantum" {
                    // The format is also named if the given key is another one.
                    let show = sandbox.sealift(&["show", "v", "-i", &sandbox.key("other")]).exits(5);
                    show.says(
                        "secrets/v.age: it is sealed to post-quantum keys (age1pq1…), which this version does not open",
                    );
                }
            }
            (false, _) => {
                told(&show, vector);
                told(&install, vector);
            }
        }
        assert_eq!(delivered(), standing, "{name}");
    }
    refused.sort_unstable();
    assert_eq!(refused, REFUSED.map(|(name, _)| name));
}
