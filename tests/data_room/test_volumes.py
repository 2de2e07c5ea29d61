"""DICOM and NIfTI: pixels as a viewer shows them, labels from headers, and no word about the patient."""

import datetime
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import convert_color_space
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medgrpo.data.dicom import read_dicom_header
from medgrpo.data.opened import Unusable
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.source import ImageRef
from medgrpo.data.volumes import open_volume_slice, plane_of_normal

SECRETS = ("DOE^JANE", "MRN-4711", "19700101", "St. Elsewhere", "ACC-99", "Dr. House")
AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


def write_dicom(path, pixels, *, modality="CT", patient="DOE^JANE", mrn="MRN-4711", **elements):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.PatientBirthDate = patient, mrn, "19700101"
    data.InstitutionName, data.AccessionNumber = "St. Elsewhere", "ACC-99"
    data.ReferringPhysicianName = "Dr. House"
    data.StudyDate = datetime.date(2020, 1, 2).strftime("%Y%m%d")
    data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()
    data.Modality = modality
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    frames = pixels if pixels.ndim == 3 else pixels[None]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(frames)
    data.Rows, data.Columns = frames.shape[1:]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = frames.astype("<i2").tobytes()
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def ramp(low, high):
    return np.linspace(low, high, 64)[None].repeat(48, axis=0)


@pytest.fixture
def series(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number, orientation in enumerate((AXIAL, CORONAL, SAGITTAL)):
        write_dicom(
            folder / f"{number}.dcm",
            ramp(0, 2000),
            mrn=f"MRN-4711-{number}",
            ImageOrientationPatient=orientation,
            RescaleSlope=1,
            RescaleIntercept=-1000,
            WindowCenter=[40, 300],
            WindowWidth=[400, 1500],
        )
    return folder


def rows_of(dataset):
    return [row for split in dataset.splits for row in dataset.rows(split)]


def picture_of(dataset, row):
    with Image.open(dataset.image_path(row["images"][0])) as picture:
        return np.asarray(picture)


def test_plane_and_modality_are_asked_and_answered_by_the_header(series, tmp_path):
    dataset, _ = prepare(series, tmp_path / "out", PrepareOptions(), workers=1)
    rows = sorted(rows_of(dataset), key=lambda row: (row["source_file"], row["question_type"]))
    assert [row["answer"] for row in rows] == ["CT", "axial", "CT", "coronal", "CT", "sagittal"]
    assert {row["label_source"] for row in rows} == {"DICOM header"}


def test_rescale_and_window_of_the_header_are_applied(series, tmp_path):
    dataset, _ = prepare(series, tmp_path / "out", PrepareOptions(), workers=1)
    values = picture_of(dataset, rows_of(dataset)[0])[0].astype(int)
    # stored 0..2000 is -1000..1000 HU; the window 40 +- 200 is black below -160 and white above 240
    hounsfield = np.linspace(-1000, 1000, 64)
    assert (values[hounsfield < -165] == 0).all()
    assert (values[hounsfield > 245] == 255).all()
    inside = (hounsfield > -150) & (hounsfield < 230)
    assert np.abs(values[inside] - (hounsfield[inside] + 160) / 400 * 255).max() < 2


def test_no_word_about_the_patient_is_in_any_file_of_the_output(series, tmp_path):
    source = b"".join(path.read_bytes() for path in series.iterdir())
    assert all(secret.encode() in source for secret in SECRETS)
    prepare(series, tmp_path / "out", PrepareOptions(), workers=1)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                import pyarrow.parquet as pq

                content += str(pq.read_table(path).to_pydict()).encode()
            for secret in SECRETS:
                assert secret.encode() not in content, (path, secret)


def test_patients_are_numbered_and_kept_together(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 2000, (48, 64))
        write_dicom(
            folder / f"{number:02}.dcm", pixels, mrn=f"MRN-4711-{number // 3}", ImageOrientationPatient=AXIAL
        )
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(split=".5,.25,.25"), workers=1)
    places = {}
    for split in dataset.splits:
        for row in dataset.rows(split):
            places.setdefault(row["patient_id"], set()).add(split)
    assert sorted(places) == [f"patient-000{i}" for i in (1, 2, 3, 4)]
    assert all(len(found) == 1 for found in places.values())


def test_monochrome1_is_shown_inverted(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_dicom(
        folder / "a.dcm",
        ramp(0, 1000),
        modality="DX",
        PhotometricInterpretation="MONOCHROME1",
        ViewPosition="PA",
    )
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(), workers=1)
    rows = rows_of(dataset)
    assert {row["answer"] for row in rows} == {"PA", "X-ray"}
    line = picture_of(dataset, rows[0])[0].astype(int)
    assert line[0] > 250
    assert line[-1] < 5
    assert (np.diff(line) <= 0).all()


def test_a_multi_frame_file_gives_a_picture_for_each_frame(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    frames = np.stack([np.full((32, 32), value) for value in (0, 500, 1000)])
    frames[:, 0, 0], frames[:, 0, 1] = 0, 1000
    write_dicom(folder / "cine.dcm", frames, modality="US", WindowCenter=500, WindowWidth=1000)
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(), workers=1)
    rows = sorted(rows_of(dataset), key=lambda row: row["source_row"])
    assert [picture_of(dataset, row)[16, 16] for row in rows] == [0, 128, 255]
    assert len({row["patient_id"] for row in rows}) == 1


def test_questions_about_dicom_files_are_read_from_a_table(series, tmp_path):
    (series / "questions.csv").write_text("image,question,answer\n0.dcm,Is there a mass?,no\n")
    dataset, _ = prepare(series, tmp_path / "out", PrepareOptions(), workers=1)
    (row,) = rows_of(dataset)
    assert row["answer"] == "no"
    assert (row["plane"], row["modality"], row["label_source"]) == ("axial", "CT", "image header")
    assert picture_of(dataset, row).shape == (48, 64)


def test_a_damaged_dicom_file_is_a_bad_row(series, tmp_path):
    (series / "9.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00garbage")
    (series / "8.dcm").write_bytes((series / "0.dcm").read_bytes()[:-3000])
    dataset, _ = prepare(series, tmp_path / "out", PrepareOptions(on_bad_row="skip"), workers=1)
    assert sum(dataset.info["skipped"].values()) == 3  # one file without header, two rows without pixels
    assert len(rows_of(dataset)) == 6


@pytest.mark.parametrize(
    ("normal", "plane"),
    [
        ((0, 0, 1), "axial"),
        ((0, -1, 0.2), "coronal"),
        ((-1, 0, 0), "sagittal"),
        ((1, 1, 0), None),
        ((0, 0, 0), None),
    ],
)
def test_the_plane_is_told_by_the_direction_across_the_slice(normal, plane):
    assert plane_of_normal(np.array(normal, float)) == plane


def test_nifti_slices_keep_their_orientation(tmp_path):
    """A volume that is dark but for the patient's left, back and head, stored in two orientations."""
    folder = tmp_path / "source"
    folder.mkdir()
    volume = np.zeros((40, 50, 60), np.int16)
    volume[:15] = 400  # RAS+: x grows to the right, so low x is the patient's left
    volume[:, :10] += 200  # low y is the back
    volume[:, :, 50:] += 300  # high z is the head
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "ras.nii.gz")
    flipped = nibabel.Nifti1Image(volume[::-1, ::-1], np.diag([-1, -1, 1, 1]))
    nibabel.save(flipped, folder / "lps.nii")
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(), workers=1)
    rows = rows_of(dataset)
    assert {row["answer"] for row in rows} == {"axial", "coronal", "sagittal"}
    assert len(rows) == 2 * 3 * 8
    shown = {}
    for row in rows:
        shown.setdefault((row["answer"], row["source_row"]), []).append(picture_of(dataset, row))
    for plane_and_row, pictures in shown.items():
        assert np.array_equal(pictures[0], pictures[1]), plane_and_row
    middle_axial = shown["axial", 20][0]
    assert middle_axial.shape == (50, 40)
    assert middle_axial[20, -5] > middle_axial[20, 5]  # the patient's left is on the right of the picture
    assert middle_axial[-2, 20] > middle_axial[2, 20]  # the back is at the bottom
    middle_coronal = shown["coronal", 12][0]
    assert middle_coronal.shape == (60, 40)
    assert middle_coronal[2, 20] > middle_coronal[-2, 20]  # the head is at the top
    middle_sagittal = shown["sagittal", 6][0]
    assert middle_sagittal.shape == (60, 50)
    assert middle_sagittal[2, 25] > middle_sagittal[-2, 25]


def test_pydicom_still_offers_what_is_used_of_it():
    assert callable(pydicom.pixels.pixel_array)
    assert callable(pydicom.pixels.apply_modality_lut)


def _one(folder, tmp_path, **options):
    dataset, _ = prepare(folder, tmp_path / "out", PrepareOptions(**options), workers=1)
    rows = rows_of(dataset)
    return dataset, rows, picture_of(dataset, rows[0]).astype(int)


EMPTY_TAGS = (
    *(
        "WindowCenter",
        "WindowWidth",
        "RescaleSlope",
        "RescaleIntercept",
        "ImageOrientationPatient",
        "ViewPosition",
    ),
    *("NumberOfFrames", "PatientID", "PatientName", "PlanarConfiguration", "BurnedInAnnotation"),
)


@pytest.mark.parametrize("tag", EMPTY_TAGS)
def test_a_dicom_tag_that_is_empty_is_as_if_it_were_not_there(tag, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    elements = {"ImageOrientationPatient": AXIAL, "RescaleSlope": 1, "RescaleIntercept": 0, tag: None}
    write_dicom(folder / "a.dcm", ramp(0, 2000), **elements)
    _, rows, picture = _one(folder, tmp_path)
    assert {row["question_type"] for row in rows} >= {"MODALITY"}
    assert (picture[0, 0], picture[0, -1]) == (0, 255)


def test_a_palette_is_shown_in_its_colours(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    pixels = np.zeros((48, 64), int)
    pixels[:, 32:] = 1
    lut = {f"{c}PaletteColorLookupTableDescriptor": [2, 0, 16] for c in ("Red", "Green", "Blue")}
    values = {"Red": (0xFF00, 0), "Green": (0, 0x8000), "Blue": (0, 0)}
    lut |= {f"{c}PaletteColorLookupTableData": np.array(v, "<u2").tobytes() for c, v in values.items()}
    write_dicom(
        folder / "a.dcm",
        pixels,
        modality="US",
        PhotometricInterpretation="PALETTE COLOR",
        PixelRepresentation=0,
        **lut,
    )
    _, _, picture = _one(folder, tmp_path)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[0, 63].tolist() == [0, 128, 0]


def test_each_frame_has_its_own_window_and_plane(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    groups = []
    for centre, orientation in ((500, AXIAL), (1500, SAGITTAL)):
        group, window, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = centre, 400
        plane.ImageOrientationPatient = orientation
        group.FrameVOILUTSequence, group.PlaneOrientationSequence = [window], [plane]
        groups.append(group)
    shared, values = pydicom.Dataset(), pydicom.Dataset()
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, "HU"
    shared.PixelValueTransformationSequence = [values]
    frames = np.stack([ramp(0, 2000)] * 2)
    write_dicom(
        folder / "a.dcm",
        frames,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
    )
    dataset, rows, _ = _one(folder, tmp_path)
    found = {row["source_row"]: (row["plane"], picture_of(dataset, row).astype(int)) for row in rows}
    assert [found[frame][0] for frame in (1, 2)] == ["axial", "sagittal"]
    # the ramp has 64 steps to 2000: 500 is step 16, 1500 step 47
    assert [int(np.abs(found[frame][1][0] - 128).argmin()) for frame in (1, 2)] == [16, 47]


def test_an_inverse_presentation_and_monochrome1_are_inverted_once(tmp_path):
    shown = []
    for number, elements in enumerate(
        (
            {},
            {"PhotometricInterpretation": "MONOCHROME1"},
            {"PresentationLUTShape": "INVERSE"},
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        )
    ):
        folder = tmp_path / f"source{number}"
        folder.mkdir()
        write_dicom(folder / "a.dcm", ramp(-500, 500), **elements)
        dataset, _ = prepare(folder, tmp_path / f"out{number}", PrepareOptions(), workers=1)
        shown.append(picture_of(dataset, rows_of(dataset)[0]).astype(int)[0])
    assert shown[0][0] == 0
    for inverted in shown[1:]:
        assert np.array_equal(inverted, 255 - shown[0])


def test_a_voi_lut_and_one_bit_are_shown_as_they_say(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    lut = pydicom.Dataset()
    lut.LUTDescriptor = [4, 0, 8]
    lut.add_new((0x0028, 0x3006), "US", [0, 255, 10, 20])
    write_dicom(
        folder / "a.dcm",
        np.arange(4).repeat(16)[None].repeat(48, axis=0),
        PixelRepresentation=0,
        VOILUTSequence=[lut],
    )
    _, _, picture = _one(folder, tmp_path)
    assert [int(picture[0, column]) for column in (0, 16, 32, 48)] == [0, 255, 10, 20]
    one = tmp_path / "one"
    one.mkdir()
    bits = np.zeros((48, 64), np.uint8)
    bits[:, 8:16] = 1
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    write_dicom(
        one / "a.dcm", bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0, PixelData=packed
    )
    dataset, _ = prepare(one, tmp_path / "bits", PrepareOptions(), workers=1)
    assert set(np.unique(picture_of(dataset, rows_of(dataset)[0]))) == {0, 255}


def shown(tmp_path, pixels, **elements):
    """The first line of a picture as it is stored."""
    folder = tmp_path / "source"
    folder.mkdir()
    write_dicom(folder / "a.dcm", pixels, **elements)
    return _one(folder, tmp_path)[2].astype(int)[0]


def test_a_modality_lut_is_followed_before_the_window(tmp_path):
    lut = pydicom.Dataset()
    lut.LUTDescriptor = [4, 0, 16]
    lut.ModalityLUTType = "HU"
    lut.add_new((0x0028, 0x3006), "US", [300, 100, 0, 200])
    line = shown(
        tmp_path,
        np.arange(4).repeat(16)[None].repeat(48, axis=0),
        PixelRepresentation=0,
        ModalityLUTSequence=[lut],
        WindowCenter=150,
        WindowWidth=300,
    )
    assert np.argsort([line[column] for column in (0, 16, 32, 48)]).tolist() == [2, 1, 3, 0]


def test_stored_bits_above_the_highest_are_no_part_of_a_signed_value(tmp_path):
    signed = (np.arange(64) - 32)[None].repeat(48, axis=0)
    line = shown(tmp_path, signed & 0x0FFF, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert (np.diff(line) >= 0).all()
    assert (line[0], line[-1]) == (0, 255)


def test_of_several_windows_the_first_is_taken_also_a_sigmoid_one(tmp_path):
    linear = shown(tmp_path, ramp(0, 2000), WindowCenter=[500, 1500], WindowWidth=[200, 200])
    (tmp_path / "two").mkdir()
    sigmoid = shown(
        tmp_path / "two",
        ramp(0, 2000),
        WindowCenter=[500, 1500],
        WindowWidth=[200, 200],
        VOILUTFunction="SIGMOID",
    )
    assert int(np.abs(linear - 128).argmin()) == int(np.abs(sigmoid - 128).argmin()) == 16
    assert (linear != sigmoid).any()


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colours_are_the_same_by_pixel_and_by_plane(tmp_path, planar, kind):
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:, :32] = (200, 30, 60)
    colours[:, 32:] = (20, 180, 90)
    stored = colours if kind == "RGB" else convert_color_space(colours, "RGB", kind)
    plane = stored.transpose(2, 0, 1) if planar else stored
    folder = tmp_path / "source"
    folder.mkdir()
    write_dicom(
        folder / "a.dcm",
        np.zeros((48, 64), int),
        SamplesPerPixel=3,
        PhotometricInterpretation=kind,
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=np.ascontiguousarray(plane).tobytes(),
    )
    _, _, picture = _one(folder, tmp_path)
    assert np.abs(picture.astype(int) - colours).max() <= 2


def test_objects_without_a_picture_are_left_out_and_burned_in_text_is_told(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_dicom(folder / "a.dcm", ramp(0, 2000), BurnedInAnnotation="YES")
    write_dicom(folder / "b.dcm", ramp(0, 2000), modality="SR")
    write_dicom(folder / "c.dcm", ramp(0, 1), modality="SEG")
    dataset, rows, _ = _one(folder, tmp_path)
    assert len(rows) == 1
    notes = " ".join(dataset.info["notes"])
    assert "an object without a picture" in notes
    assert "a map of labels" in notes
    assert "burned into the picture" in notes


def test_a_compressed_file_without_its_decoder_names_the_extra(tmp_path, monkeypatch):
    from medgrpo.data.dicom import _refuse_unreadable
    from medgrpo.data.opened import Unusable

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    if pydicom.pixels.get_decoder(pydicom.uid.JPEGLSLossless).is_available:
        pytest.skip("the decoder is installed")
    with pytest.raises(Unusable, match=r"pip install .*\[dicom\]"):
        _refuse_unreadable(data, "a.dcm")


def test_a_colour_volume_is_shown_in_colour_and_scl_slope_is_followed(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    colours = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = 200
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), folder / "a.nii")
    _, _, picture = _one(folder, tmp_path)
    assert picture[0, 0].tolist() == [200, 0, 0]
    from medgrpo.data.nifti import _volume

    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    image.header.set_slope_inter(2, -5)
    values, low, high = _volume(image.to_bytes())
    assert (values.min(), values.max()) == (-5, 121)
    assert (low, high) == pytest.approx((-4.37, 120.37))


def test_a_volume_that_does_not_say_how_it_lies_is_refused(tmp_path):
    from medgrpo.data.nifti import read_nifti_header
    from medgrpo.data.opened import Unusable

    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), None)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(Unusable, match="neither sform nor qform"):
        read_nifti_header(tmp_path / "a.nii")


def test_names_of_dicom_files_are_in_nothing_that_is_written(tmp_path):
    source = tmp_path / "DOE_JANE"
    for number in range(4):
        folder = source / "studies" / f"MRN4711_{number}"
        folder.mkdir(parents=True)
        name = "DOE_JANE_19570101.dcm" if number else "1.2.840.4711"
        pixels = (
            np.random.default_rng(number // 2).integers(0, 900, (40, 40)).astype(np.int16)
        )  # two pairs are alike
        write_dicom(folder / name, pixels, mrn=f"MRN-{number}", ImageOrientationPatient=AXIAL)
    (source / "studies" / "DOE_BROKEN.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00garbage")
    options = PrepareOptions(on_bad_row="skip", name="scans")
    dataset, _ = prepare(source, tmp_path / "out", options, workers=1)
    names = [path.relative_to(dataset.path).as_posix() for path in dataset.path.rglob("*")]
    written = b"".join(path.read_bytes() for path in dataset.path.rglob("*") if path.is_file())
    tables = str([row for split in dataset.splits for row in dataset.rows(split)])
    for word in ("DOE_J", "DOE_B", "MRN4711", "840.4711", "19570101", "studies"):
        assert not [name for name in names if word in name]
        assert word.encode() not in written
        assert word not in tables
    assert dataset.info["skipped_examples"][0]["file"].startswith("dicom-")
    again, is_new = prepare(
        source, tmp_path / "out", options, workers=1
    )  # it is known again by the files' own names
    assert not is_new
    (source / "studies" / "MRN4711_1" / "DOE_JANE_19570101.dcm").touch()
    assert not prepare(source, tmp_path / "out", options, workers=1)[1]
    kept, _ = prepare(source, tmp_path / "kept", replace(options, keep_names=True), workers=1)
    assert any("DOE_JANE_19570101" in str(row["image_id"]) for row in kept.rows("train"))
    assert again.hash == dataset.hash


def test_a_table_about_dicom_files_names_none_of_them(series, tmp_path):
    (series / "questions.csv").write_text(
        "image,question,answer\n0.dcm,Is there a mass?,no\n1.dcm,Is it CT?,yes\n"
    )
    dataset, _ = prepare(series, tmp_path / "out", PrepareOptions(name="scans"), workers=1)
    rows = [row for split in dataset.splits for row in dataset.rows(split)]
    assert {row["image_id"][:6] for row in rows} == {"dicom-"}
    assert ".dcm" not in str(rows)


def test_a_header_field_of_an_unknown_kind_is_a_damaged_picture(tmp_path):
    from tests.bombs import dicom

    file = dicom(tmp_path, deflated=False, rows=8, data=bytes(128))
    content = bytearray(file.read_bytes())
    place = content.find(b"\x08\x00\x60\x00CS")  # the modality
    content[place + 4 : place + 6] = b"\x43\xe8"
    file.write_bytes(content)
    with pytest.raises(Unusable, match="Unknown Value Representation"):
        open_volume_slice(bytes(content), ImageRef("a.dcm"))
    with pytest.raises(Unusable, match="damaged"):
        read_dicom_header(file)
