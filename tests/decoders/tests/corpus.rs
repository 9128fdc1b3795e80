//! The inputs that fuzzing kept, replayed.

use std::path::Path;

#[test]
fn every_kept_input_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in cairn_decoders::TARGETS {
        let inputs = std::fs::read_dir(corpus.join(name)).unwrap();
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            eprintln!("{}", path.display());
            target(&bytes);
            // A neighbour of each: cut, and with a bit turned.
            target(&bytes[..bytes.len() / 2]);
            let mut turned = bytes;
            if let Some(byte) = turned.get_mut(count * 7) {
                *byte ^= 1;
                target(&turned);
            }
            count += 1;
        }
        assert!(count > 0, "no inputs for {name}");
    }
}
