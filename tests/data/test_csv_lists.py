import pytest

from data_prep.datasets import read_dataset
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from mgm_jax.data.records import UNLABELLED
from mgm_jax.data.sources import CsvSource
from mgm_jax.errors import ConfigError

FILES = ("a.mp4", "b.3gp", "c.film", "run, fast/d.mp4", " e.mp4")


def read(folder, text, split="train"):
    """Names, labels and classes of a split, as training and as preparation read them."""
    videos = folder / "videos"
    for name in FILES:
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"not read")
    list_file = folder / "list.csv"
    list_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    prepared = read_dataset("csv", VideoFiles(videos), DatasetOptions(str(list_file)))
    entries = [entry for entry in prepared.entries if entry.split == split]
    assert all(entry.file in FILES for entry in entries)
    source = CsvSource(str(list_file), split, str(videos))
    facts = source.facts()
    assert [(e.video_id.strip(), e.label) for e in entries] == [
        (f.name.strip(), f.label) for f in facts
    ]
    assert prepared.class_names == source.class_names
    return {fact.name: fact.label for fact in facts}, source.class_names


@pytest.mark.parametrize(
    ("text", "videos", "classes"),
    [
        ("path,label\na.mp4,wave\nb.3gp,\n", {"a.mp4": 0, "b.3gp": UNLABELLED}, ("wave",)),
        (
            "path , label , split\na.mp4 , wave , train\nb.3gp,go,test\n",
            {"a.mp4": 1},
            ("go", "wave"),
        ),
        ("\ufeffpath,label\r\na.mp4,wave\r\n\r\n,\r\n", {"a.mp4": 0}, ("wave",)),
        ("path;label;\na.mp4;wave;\nc.film;go;\n", {"a.mp4": 1, "c.film": 0}, ("go", "wave")),
        ("path\tlabel\na.mp4\twave, slowly\n", {"a.mp4": 0}, ("wave, slowly",)),
        ('path,label\n"run, fast/d.mp4", "run, fast"\n', {"run, fast/d.mp4": 0}, ("run, fast",)),
        ('path,label\n" e.mp4",wave\n./a.mp4,wave\n', {" e.mp4": 0, "./a.mp4": 0}, ("wave",)),
        (
            "path,label,label_id\na.mp4,b,0\nb.3gp,a,1\nc.film,,\n",
            {"a.mp4": 0, "b.3gp": 1, "c.film": UNLABELLED},
            ("b", "a"),
        ),
        ("a.mp4 2\nb.3gp 0\nc.film -1\n", {"a.mp4": 2, "b.3gp": 0, "c.film": -1}, ("0", "1", "2")),
        ("a.mp4,1\nrun, fast/d.mp4,0\n", {"a.mp4": 1, "run, fast/d.mp4": 0}, ("0", "1")),
        ("path,label_id\na.mp4,1\n", {"a.mp4": 1}, ("0", "1")),
        (
            "path,label\na.mp4,caf\u00e9 \nb.3gp,caf\u00e9\n",
            {"a.mp4": 0, "b.3gp": 0},
            ("caf\u00e9",),
        ),
        ('path,label\na.mp4,"two\nlines"\n', {"a.mp4": 0}, ("two\\nlines",)),
        (b"path,label\na.mp4,caf\xe9\n", {"a.mp4": 0}, ("caf\\udce9",)),
    ],
)
def test_training_and_preparation_read_the_same(tmp_path, text, videos, classes):
    assert read(tmp_path, text) == (videos, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("path,label\n", "lists no video"),
        ("file,label\na.mp4,wave\n", "column 'file'.* write path"),
        ("name,label\na.mp4,wave\n", "no column 'path' but 'name', 'label'"),
        ("path,Label\na.mp4,wave\n", "column 'Label'.* write label"),
        ("path,label,Split\na.mp4,wave,train\n", "column 'Split'.* write split"),
        ("path,label,set\na.mp4,wave,train\n", "column 'set'.* write split"),
        ("path,class\na.mp4,wave\n", "column 'class'.* write label"),
        ("path,label,label\na.mp4,a,b\n", "two columns 'label'"),
        ("path,label\na.mp4,run, fast\n", "line 2 has 3 values.* quote"),
        ("path,label\na.mp4,b\nb.3gp\n", "line 3 has 1 values"),
        ('path,label\n"a.mp4,b\nb.3gp,c\n', "line 3: .*quotation"),
        ("path,label\n,wave\n", "line 2 has no path"),
        ("path,label\na.mp4,wave\n./a.mp4,go\n", "lines 2 and 3: './a.mp4' has two labels"),
        ("path,label\na.mp4,wave\nb.3gp,Wave\n", "'Wave' and 'wave' differ by capitals"),
        ("path,label\na.mp4,e\u0301t\u00e9\nb.3gp,\u00e9te\u0301\n", "differ by .*invisible"),
        (
            "path,label,split\na.mp4,wave,train\nb.3gp,go,Train\n",
            "column split: 'Train' and 'train'",
        ),
        (
            "path,label,label_id\na.mp4,a,0\nb.3gp,a,1\n",
            "line 3: class 'a' has the label_id 1, but .* it 0",
        ),
        (
            "path,label,label_id\na.mp4,a,0\nb.3gp,b,0\n",
            "line 3: class 'b' has the label_id 0, .* 0 to 'a'",
        ),
        ("path,label,label_id\na.mp4,a,1\nb.3gp,b,2\n", "not 0 to 1"),
        ("path,label,label_id\na.mp4,a,one\n", "line 2 .*label_id 'one'"),
        ("path,label,label_id\na.mp4,,1\n", "line 2 .*label ''"),
        ("a.mp4 16 2\n", "line 1 has more than a path and a number"),
        ("a.mp4 2000000000\n", "from 0 to 100000"),
        (b"\xff\xfep\0a\0t\0h\0", "not UTF-8 text"),
        ('[{"path": "' + "x" * 200_000 + '"}]', "line 1: field larger than .*; give a csv file"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)
