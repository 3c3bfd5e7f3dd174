//! Programs that print without end, end early or leave children.

use rustix::process::{Resource, getrlimit};

use super::*;

#[test]
fn input_and_output_larger_than_a_pipe_do_not_block() {
    let bytes = vec![b'x'; 1 << 20];
    assert_eq!(Invocation::new("cat").input(bytes.clone()).read().unwrap(), bytes);
}

#[test]
fn what_goes_into_a_file_is_passed_on_line_by_line() {
    let mut lines = Vec::new();
    let script = "echo printed; echo said >&2; printf %070000d 0; echo; printf end; exit 3";
    let ended = Invocation::new("sh").args(["-c", script]).logged(|line| lines.push(line.to_owned())).unwrap();
    assert_eq!(ended, Ended::Code(3));
    assert_eq!((lines.len(), lines[2].len()), (4, 70000));
    assert_eq!((&*lines[0], &*lines[1], &*lines[3]), ("printed", "said", "end"));
    // A script may truncate the file, unlike a terminal.
    lines.clear();
    let script = "echo one; echo two > /dev/stderr; echo three >&2";
    Invocation::new("sh").args(["-c", script]).logged(|line| lines.push(line.to_owned())).unwrap();
    assert_eq!(lines.last().map(String::as_str), Some("three"));
}

#[test]
fn a_file_of_what_is_printed_is_its_owners_alone() {
    let mut lines = Vec::new();
    let script = "stat -Lc %a /proc/self/fd/1; sed -n 's/^flags:.*\\(.\\)$/\\1/p' /proc/$$/fdinfo/2";
    Invocation::new("sh").args(["-c", script]).logged(|line| lines.push(line.to_owned())).unwrap();
    // Private mode, and open for writing only.
    assert_eq!(lines, ["600", "1"]);
}

#[test]
fn who_has_the_file_of_what_is_printed_keeps_nobody_waiting() {
    let mut last = String::new();
    // Far more than could be read if it were not a hole.
    let script = "echo one; truncate -s 4T /proc/self/fd/1; echo end";
    Invocation::new("sh").args(["-c", script]).logged(|line| line.clone_into(&mut last)).unwrap();
    assert!(last.ends_with("end"), "{} bytes", last.len());
    // A background process keeps writing after the program has exited.
    let started = Instant::now();
    let script = "timeout 20 sh -c 'while :; do echo more; done' & sleep 0.2";
    Invocation::new("sh").args(["-c", script]).logged(|_| ()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[test]
fn what_a_program_leaves_behind_with_its_pipes_is_not_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    assert!(Invocation::new("mkfifo").arg(&fifo).run().unwrap().ended.success());
    // `cat` keeps the pipes open until the FIFO is opened below.
    let call = Invocation::new("sh").args(["-c", "cat \"$0\" & echo printed; echo said >&2"]).arg(&fifo);
    let mut lines = Vec::new();
    call.converse(|line| lines.push(line.to_owned()), |_| ()).unwrap();
    assert_eq!(lines, ["printed"]);
    let output = call.run().unwrap();
    assert_eq!((output.stdout, output.stderr), (b"printed\n".to_vec(), b"said\n".to_vec()));
    drop(File::options().write(true).open(fifo).unwrap());
}

#[test]
fn what_never_answers_is_ended_and_what_answers_in_time_is_not() {
    let error = Invocation::new("sleep").arg("600").at_longest(Duration::from_millis(20)).run().unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.message().contains("no answer within"), "{error:?}");
    // It holds its pipes open and prints, but does not finish in time.
    let tale = Invocation::new("sh").args(["-c", "echo so far; exec sleep 600"]);
    assert!(tale.at_longest(Duration::from_millis(20)).run().is_err());
    assert_eq!(Invocation::new("echo").at_longest(Duration::from_secs(600)).read().unwrap(), b"\n");
}

#[test]
fn who_talks_is_listened_to_and_who_falls_silent_is_ended() {
    let mut lines = Vec::new();
    let call = Invocation::new("sh").args(["-c", "echo so far; exec sleep 600"]).at_longest(Duration::from_millis(50));
    let error = call.converse(|line| lines.push(line.to_owned()), |_| ()).unwrap_err();
    assert_eq!((error.kind(), lines), (Kind::Unreachable, vec!["so far".to_owned()]));
    // Runs long in total, but is never silent for long.
    let talk = Invocation::new("sh").args(["-c", "for n in 1 2 3 4; do echo $n; sleep 0.2; done; echo 5 >&2"]);
    assert!(talk.at_longest(Duration::from_millis(600)).converse(|_| (), |_| ()).unwrap().success());
}

#[test]
fn a_child_gets_the_limit_of_open_files_that_we_got() {
    let before = getrlimit(Resource::Nofile);
    raise_open_files();
    assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    // The shell prints the limit only after it has read a line, when the limit is already set.
    let call = Invocation::new("sh").args(["-c", "read word; ulimit -Sn"]).input("go\n");
    let shown = before.current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    assert_eq!(String::from_utf8(call.read().unwrap()).unwrap().trim(), shown);
}

#[test]
fn both_pipes_are_at_hand_and_what_is_left_is_not_waited_for() {
    let write = |mut pipe: ChildStdin| drop(pipe.write_all(&vec![b'x'; 1 << 20]));
    let first = |pipe: &mut ChildStdout| {
        let mut bytes = [0; 4];
        pipe.read_exact(&mut bytes).map(|()| bytes)
    };
    let (bytes, output) = Invocation::new("cat").piped(write, first).unwrap();
    assert_eq!((bytes.unwrap(), output.ended.success()), (*b"xxxx", false));
    let all = |pipe: &mut ChildStdout| std::io::copy(pipe, &mut std::io::sink());
    let (count, output) = Invocation::new("cat").piped(write, all).unwrap();
    assert_eq!((count.unwrap(), output.ended.success()), (1 << 20, true));
}

#[test]
fn a_failure_tells_how_it_ended_and_what_it_said() {
    let error = Invocation::new("sh").args(["-c", "echo reason >&2; exit 3"]).read().unwrap_err();
    assert_eq!(format!("{error:?}"), "Failed: sh failed (exit code 3): reason");
    let error = Invocation::new("sh").args(["-c", "kill -9 $$"]).read().unwrap_err();
    assert!(error.message().contains("signal 9"));
}

#[test]
fn what_would_print_secrets_does_not_reach_a_child() {
    let call = Invocation::new("sh").args(["-c", "echo ${AGEDEBUG-none}"]).without_env("AGEDEBUG");
    assert_eq!(call.read().unwrap(), b"none\n");
}

#[test]
fn lines_are_passed_on_and_the_input_arrives() {
    let said = Mutex::new(Vec::new());
    let mut printed = Vec::new();
    let call = Invocation::new("sh").args(["-c", "cat; echo said >&2; exit 7"]).input("a\nb");
    let ended = call.converse(|line| printed.push(line.to_owned()), |line| said.lock().unwrap().push(line.to_owned()));
    assert_eq!(
        (ended.unwrap(), printed, said.into_inner().unwrap()),
        (Ended::Code(7), vec!["a".into(), "b".into()], vec!["said".to_owned()])
    );
}

#[test]
fn what_does_not_end_in_time_is_ended() {
    let short = Duration::from_millis(50);
    let within = |name: &str, time| Invocation::new(name).arg("60").leaving(Stdio::null(), time);
    assert!(within("sleep", short).unwrap_err().message().contains("does not end within"));
    assert_eq!(within("false", short * 100).unwrap(), Ended::Code(1));
}

#[test]
fn a_missing_program_is_named() {
    assert!(
        Invocation::new("no-such-program").read().unwrap_err().message().contains("no-such-program is not installed")
    );
}
