use super::*;

fn after(config: Value, instructions: &[&str]) -> Value {
    let owned: Vec<String> = instructions.iter().map(|i| (*i).to_owned()).collect();
    apply(config, &owned).unwrap()
}

fn one(instruction: &str) -> Value {
    after(json!({}), &[instruction])
}

fn refused(instruction: &str) -> String {
    apply(json!({}), &[instruction.to_owned()])
        .expect_err(instruction)
        .to_string()
}

#[test]
fn commands_are_json_or_a_line_for_the_shell() {
    for (text, words) in [
        (r#"CMD ["a", "b c"]"#, json!(["a", "b c"])),
        ("CMD a b", json!(["/bin/sh", "-c", "a b"])),
        (
            "cmd echo \"$HOME\"",
            json!(["/bin/sh", "-c", "echo \"$HOME\""]),
        ),
        (
            "CMD [ -f x ] && y",
            json!(["/bin/sh", "-c", "[ -f x ] && y"]),
        ),
        ("CMD ['a']", json!(["/bin/sh", "-c", "['a']"])),
        ("CMD []", json!([])),
        ("CMD", json!([])),
        ("CMD=[\"a\"]", json!(["a"])),
        ("  CMD   [\"a\"]  ", json!(["a"])),
    ] {
        assert_eq!(one(text)["Cmd"], words, "{text}");
    }
    assert!(refused("CMD [1]").contains("strings"));
}

#[test]
fn the_shell_is_that_of_the_image() {
    let base = json!({"Shell": ["/bin/bash", "-ec"]});
    assert_eq!(
        after(base, &["CMD a b"])["Cmd"],
        json!(["/bin/bash", "-ec", "a b"])
    );
}

#[test]
fn an_entrypoint_takes_the_inherited_command_back() {
    let base = || json!({"Cmd": ["old"]});
    assert_eq!(
        after(base(), &["ENTRYPOINT [\"e\"]"]),
        json!({"Entrypoint": ["e"]})
    );
    let both = json!({"Entrypoint": ["e"], "Cmd": ["new"]});
    assert_eq!(
        after(base(), &["CMD [\"new\"]", "ENTRYPOINT [\"e\"]"]),
        both
    );
    assert_eq!(
        after(base(), &["ENTRYPOINT [\"e\"]", "CMD [\"new\"]"]),
        both
    );
}

#[test]
fn env_takes_pairs_quotes_and_escapes() {
    for (text, env) in [
        ("ENV A=1 B=2", vec!["A=1", "B=2"]),
        ("ENV A=1", vec!["A=1"]),
        ("ENV A=", vec!["A="]),
        ("ENV A=\"b c\" D='e f'", vec!["A=b c", "D=e f"]),
        ("ENV A=b\\ c D=e", vec!["A=b c", "D=e"]),
        ("ENV A=a\"b\"'c'", vec!["A=abc"]),
        ("ENV A=\"say \\\"hi\\\"\"", vec!["A=say \"hi\""]),
        ("ENV A='a\\b'", vec!["A=a\\b"]),
        ("ENV A=\"a\\b\"", vec!["A=a\\b"]),
        ("ENV A=x=y", vec!["A=x=y"]),
        ("ENV A b c  d", vec!["A=b c  d"]),
        ("ENV A \"b c\"", vec!["A=b c"]),
        ("ENV A=1 A=2", vec!["A=2"]),
        ("ENV A='$HOME' B=\\$HOME", vec!["A=$HOME", "B=$HOME"]),
        ("ENV A=é\tB=ü", vec!["A=é", "B=ü"]),
    ] {
        assert_eq!(one(text)["Env"], json!(env), "{text}");
    }
    for bad in [
        "ENV",
        "ENV A",
        "ENV A=1 B",
        "ENV =1",
        "ENV A=\"b",
        "ENV A='b",
        "ENV A=${B",
    ] {
        refused(bad);
    }
    let base = json!({"Env": ["PATH=/bin", "A=1", "AB=2"]});
    assert_eq!(
        after(base, &["ENV A=3 C=4"])["Env"],
        json!(["PATH=/bin", "A=3", "AB=2", "C=4"])
    );
}

#[test]
fn variables_are_those_of_the_image() {
    let base = || json!({"Env": ["A=one", "E="]});
    for (text, value) in [
        ("$A", "one"),
        ("${A}x", "onex"),
        ("\"$A\"", "one"),
        ("$NONE", ""),
        ("${NONE:-two}", "two"),
        ("${E:-two}", "two"),
        ("${E-two}", ""),
        ("${A:-two}", "one"),
        ("${A:+yes}", "yes"),
        ("${NONE:+yes}", ""),
        ("${NONE:-${A}}", "one"),
        ("$", "$"),
        ("a$1", "a$1"),
    ] {
        let env = after(base(), &[&format!("ENV X={text}")])["Env"].clone();
        assert_eq!(env[2], format!("X={value}"), "{text}");
    }
    // All of a line see the values from before it.
    let env = after(base(), &["ENV A=two B=$A"])["Env"].clone();
    assert_eq!(env, json!(["A=two", "E=", "B=one"]));
    assert_eq!(after(base(), &["WORKDIR /x/$A"])["WorkingDir"], "/x/one");
    assert_eq!(after(base(), &["USER $A"])["User"], "one");
    assert_eq!(after(base(), &["LABEL l=$A"])["Labels"]["l"], "one");
    assert!(refused("ENV A=${B:?no}").contains("modifier"));
}

#[test]
fn labels_come_several_in_a_line() {
    let labels = one("LABEL a=1 \"b c\"=\"d e\" f=")["Labels"].clone();
    assert_eq!(labels, json!({"a": "1", "b c": "d e", "f": ""}));
    assert_eq!(one("LABEL a b c")["Labels"], json!({"a": "b c"}));
    let base = json!({"Labels": {"a": "0", "z": "9"}});
    assert_eq!(
        after(base, &["LABEL a=1"])["Labels"],
        json!({"a": "1", "z": "9"})
    );
    assert_eq!(
        after(json!({"Labels": null}), &["LABEL a=1"])["Labels"],
        json!({"a": "1"})
    );
    refused("LABEL a");
    refused("LABEL a=1 b");
}

#[test]
fn ports_have_protocols_and_ranges() {
    for (text, ports) in [
        ("EXPOSE 80", vec!["80/tcp"]),
        ("EXPOSE 80/UDP 443/tcp", vec!["80/udp", "443/tcp"]),
        ("EXPOSE 8000-8002", vec!["8000/tcp", "8001/tcp", "8002/tcp"]),
        ("EXPOSE 132/sctp", vec!["132/sctp"]),
    ] {
        let exposed = one(text)["ExposedPorts"].clone();
        let mut names: Vec<&String> = exposed.as_object().unwrap().keys().collect();
        let mut ports = ports;
        names.sort();
        ports.sort_unstable();
        assert_eq!(names, ports, "{text}");
    }
    for bad in [
        "0",
        "65536",
        "x",
        "80/x",
        "9-8",
        "-1",
        "+80",
        "80-",
        "127.0.0.1:80:80",
    ] {
        refused(&format!("EXPOSE {bad}"));
    }
}

#[test]
fn volumes_are_words_or_json() {
    let names = |text: &str| {
        let volumes = one(text)["Volumes"].clone();
        let mut names: Vec<String> = volumes.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names("VOLUME /a /b"), ["/a", "/b"]);
    assert_eq!(names("VOLUME [\"/a\", \"/b c\"]"), ["/a", "/b c"]);
    assert_eq!(names("VOLUME '/a b'"), ["/a b"]);
    for bad in ["VOLUME", "VOLUME []", "VOLUME [\"\"]", "VOLUME [1]"] {
        refused(bad);
    }
    let base = json!({"Volumes": {"/z": {}}});
    assert_eq!(
        after(base, &["VOLUME /a"])["Volumes"],
        json!({"/z": {}, "/a": {}})
    );
}

#[test]
fn stop_signals_are_names_or_numbers() {
    for good in [
        "SIGTERM",
        "QUIT",
        "sigint",
        "9",
        "64",
        "SIGRTMIN",
        "SIGRTMIN+3",
        "RTMAX-14",
        "SIGRTMAX",
    ] {
        assert_eq!(one(&format!("STOPSIGNAL {good}"))["StopSignal"], good);
    }
    for bad in [
        "0",
        "65",
        "SIGNONE",
        "SIGRTMIN+16",
        "SIGRTMIN3",
        "RTMAX+1",
        "-9",
        "TERM KILL",
    ] {
        assert!(
            refused(&format!("STOPSIGNAL {bad}")).contains("not a signal"),
            "{bad}"
        );
    }
}

#[test]
fn health_checks_have_options_and_a_command() {
    assert_eq!(
        one("HEALTHCHECK NONE")["Healthcheck"],
        json!({"Test": ["NONE"]})
    );
    assert_eq!(
        one(
            "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=5s --retries=3 CMD curl -f x"
        )["Healthcheck"],
        json!({"Interval": 90_000_000_000_i64, "Timeout": 500_000_000, "StartPeriod": 5_000_000_000_i64,
               "Retries": 3, "Test": ["CMD-SHELL", "curl -f x"]})
    );
    assert_eq!(
        one("HEALTHCHECK CMD [\"a\", \"b\"]")["Healthcheck"],
        json!({"Test": ["CMD", "a", "b"]})
    );
    assert_eq!(
        one("HEALTHCHECK --interval=0s cmd x")["Healthcheck"]["Interval"],
        0
    );
    for bad in [
        "",
        "CMD",
        "CMD []",
        "NONE x",
        "--interval=5 CMD x",
        "--interval=1us CMD x",
        "--interval=x CMD y",
        "--interval CMD x",
        "--what=1s CMD x",
        "--retries=-1 CMD x",
        "--timeout=1s NONE",
        "curl x",
        "--interval= CMD x",
        "--interval=.s CMD x",
    ] {
        refused(&format!("HEALTHCHECK {bad}"));
    }
}

#[test]
fn triggers_are_added() {
    let base = json!({"OnBuild": ["RUN a"]});
    assert_eq!(
        after(base, &["ONBUILD RUN b"])["OnBuild"],
        json!(["RUN a", "RUN b"])
    );
    assert_eq!(one("ONBUILD COPY . /x")["OnBuild"], json!(["COPY . /x"]));
    for bad in [
        "ONBUILD",
        "ONBUILD ONBUILD RUN a",
        "ONBUILD from x",
        "ONBUILD MAINTAINER x",
    ] {
        refused(bad);
    }
}

#[test]
fn a_relative_working_directory_is_below_the_one_before() {
    for (before, text, expected) in [
        ("", "a", "/a"),
        ("/x", "a", "/x/a"),
        ("/x", "/a", "/a"),
        ("/x/y", "../a", "/x/a"),
        ("/x", "../../..", "/"),
        ("x", "a/./b/", "/x/a/b"),
        ("/x", "'a b'", "/x/a b"),
    ] {
        let base = json!({"WorkingDir": before});
        let done = after(base, &[&format!("WORKDIR {text}")]);
        assert_eq!(done["WorkingDir"], expected, "{before} {text}");
    }
    assert_eq!(one("USER 1000:1000")["User"], "1000:1000");
    refused("USER a b");
    refused("USER");
    refused("WORKDIR");
}

#[test]
fn what_is_unknown_stays_or_is_refused() {
    let base = json!({"Odd": 7, "Env": null});
    assert_eq!(
        after(base, &["USER x"]),
        json!({"Odd": 7, "Env": null, "User": "x"})
    );
    assert_eq!(after(Value::Null, &[]), json!({}));
    for bad in ["RUN x", "FROM y", "", "   ", "COPY a b"] {
        assert!(refused(bad).contains("supported are CMD"), "{bad}");
    }
    assert_eq!(unquoted("'a'\"b\"\\c\\").unwrap(), "abc\\");
}

#[test]
fn no_instruction_can_end_the_program() {
    assert!(refused(&format!("ENV A={}", "${A:-".repeat(40_000))).contains("unterminated"));
    let deep = format!("ENV A={}x{}", "${A:-".repeat(100), "}".repeat(100));
    assert!(refused(&deep).contains("nested"));
    let names: Vec<&str> = KNOWN.split(", ").collect();
    let pieces = [
        "$", "{", "}", "'", "\"", "\\", "=", " ", ":-", ":+", "A", "é", "[", "]", "--", "1", "s",
        "/", "-", ",", "CMD ", "SIGRTMIN", "interval", "µ",
    ];
    let mut state = 1_u64;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    for _ in 0..20_000 {
        let mut text = format!("{} ", names[next(names.len())]);
        for _ in 0..next(12) {
            text.push_str(pieces[next(pieces.len())]);
        }
        // Either is well; a panic is not.
        let _ = apply(json!({"Env": ["A=1"]}), &[text]);
    }
}
