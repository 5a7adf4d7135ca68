"""Text-only instruction samples: facts of microscopy and of boxes, and boxes to be written in MedMO's form."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from medmo_ray.corpus.wording import hash_number, listed
from rewards.boxes import LabelledBox, format_boxes

DATASET = "medmo-text"
LICENCE = "Apache-2.0"
MAX_TEXTS = 5_000

# Textbook knowledge: microscopy and cell biology as in Alberts et al., Molecular Biology of the Cell; intersection over
# union as in Everingham et al. 2010 (Pascal VOC); generalized IoU as in Rezatofighi et al. 2019.
FACTS = """\
What is a bacterium? | Define bacterium.
    A single-celled organism without a nucleus.
Do bacteria have a nucleus? | Is there a nucleus in a bacterium?
    No. Bacteria are prokaryotes: their DNA lies free in the cell.
What does the nucleus of a cell hold? | What is in a cell nucleus?
    Most of the cell's DNA, in chromosomes.
What shape is a bacillus? | Describe the shape of a bacillus.
    A bacillus is rod-shaped.
What shape is a coccus? | Describe the shape of a coccus.
    A coccus is round.
Do human red blood cells have a nucleus? | Is there a nucleus in a mature human red blood cell?
    No. They lose it as they mature.
What do red blood cells carry? | What is the task of red blood cells?
    They carry oxygen, bound to haemoglobin.
What is another word for a red blood cell? | What are red blood cells also called?
    Erythrocyte.
What is another word for a white blood cell? | What are white blood cells also called?
    Leukocyte.
What do white blood cells do? | What is the task of white blood cells?
    They defend the body against infection.
What are platelets for? | What do platelets do?
    They help blood to clot.
What is another word for a platelet? | What are platelets also called?
    Thrombocyte.
Which is more frequent in healthy blood, red or white cells? | Are there more red or white cells in healthy blood?
    Red cells, by several hundred to one.
How wide is a human red blood cell? | Give the diameter of a human red blood cell.
    About 7 to 8 micrometres.
How long is Escherichia coli? | Give the length of an Escherichia coli cell.
    About 2 micrometres.
How many micrometres are in a millimetre? | Convert one millimetre to micrometres.
    1000.
How many nanometres are in a micrometre? | Convert one micrometre to nanometres.
    1000.
What limits the resolution of a light microscope? | Why can a light microscope not resolve any detail?
    Diffraction: about half the wavelength of the light.
What does an electron microscope use instead of light? | What forms the image in an electron microscope?
    A beam of electrons.
What does phase contrast microscopy make visible? | What is phase contrast microscopy good for?
    Transparent, unstained cells: differences of phase become differences of brightness.
What happens in fluorescence microscopy? | How does fluorescence microscopy work?
    A dye absorbs light of one wavelength and emits light of a longer one, which forms the image.
What does DAPI stain? | What is DAPI used for?
    DNA, so that nuclei glow blue.
What does haematoxylin stain? | What does haematoxylin show in a section?
    Nuclei, in blue to purple.
What does eosin stain? | What does eosin show in a section?
    Cytoplasm and extracellular matrix, in pink.
What does H&E stand for? | What does the abbreviation H&E mean in histology?
    Haematoxylin and eosin.
What does a Gram stain tell apart? | What is a Gram stain for?
    Bacteria by their cell wall: Gram-positive ones turn purple, Gram-negative ones pink.
What is the magnification of a 40x objective with a 10x eyepiece? | A 40x objective and a 10x eyepiece magnify by how much?
    400 times.
What is a field of view? | What does field of view mean in microscopy?
    The part of the specimen that the image shows.
What is uneven illumination? | What does uneven illumination mean?
    One part of the field is brighter than another although the specimen is not.
What is segmentation of an image? | What does image segmentation do?
    It says of each pixel which object or class it belongs to.
What is object detection? | What does object detection do?
    It names the objects in an image and gives a box around each.
What is a bounding box? | Define bounding box.
    The smallest upright rectangle that holds an object.
What is an instance mask? | Define instance mask.
    The set of pixels of one object.
What do the four numbers of a box mean? | How is a box [x1, y1, x2, y2] read?
    x1 and y1 are the upper left corner, x2 and y2 the lower right corner.
Where does the y axis of an image point? | In image coordinates, which way does y grow?
    Downwards: y grows from the top to the bottom.
Where is the origin of image coordinates? | Which corner of an image is (0, 0)?
    The upper left corner.
What is intersection over union? | What does IoU mean?
    The area that two boxes share, divided by the area that they cover together.
What is the IoU of two equal boxes? | Two boxes are identical. What is their IoU?
    1.
What is the IoU of two boxes that do not touch? | Two boxes lie apart. What is their IoU?
    0.
What is the largest value that IoU can take? | How high can IoU be?
    1.
How does generalized IoU treat boxes that do not touch? | What does GIoU add to IoU?
    It is below 0 and falls as they move apart, so that distance still counts.
What is precision in detection? | Define precision of a detector.
    The share of the predicted boxes that are right.
What is recall in detection? | Define recall of a detector.
    The share of the true boxes that were found.
What is a false positive in detection? | Define false positive for a detector.
    A predicted box with no object.
What is a false negative in detection? | Define false negative for a detector.
    An object without a predicted box.
How does MedMO write a box? | In which form does MedMO give boxes?
    As the label, then the corners in box tags, with one list for each object.
If an image is halved in width and height, what becomes of a box in pixels? | An image shrinks to half its size. How do pixel boxes change?
    All four numbers are halved.
If an image is halved in size, what becomes of a box in thousandths? | How does a box on a scale of 0 to 1000 change when the image shrinks?
    Nothing: they are relative to the image.
"""
"""Two wordings of a question on one line, the answer on the next."""

_NAMES = ("cell", "bacterium", "nucleus", "platelet", "red blood cell", "white blood cell")


@dataclass(frozen=True)
class Text:
    """One text-only sample.

    Attributes:
        key: Its native id.
        group: What it teaches; texts of one group stay in one split.
    """

    key: str
    group: str
    question: str
    answer: str


def texts(count: int, seed: int) -> list[Text]:
    """So many different text samples, at most `MAX_TEXTS`: facts and boxes to be written, in an order that `seed` decides."""
    count = min(count, MAX_TEXTS)
    facts = list(_facts())
    pool = facts + [_box_to_write(number, seed) for number in range(max(count, len(facts)))]
    return sorted(pool, key=lambda text: hash_number(seed, text.key))[:count]


def _facts() -> Iterator[Text]:
    lines = FACTS.splitlines()
    for number, (questions, answer) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        for wording, question in enumerate(questions.split(" | ")):
            yield Text(f"fact-{number:03d}-{wording}", f"fact-{number:03d}", question, answer.strip())


def _box_to_write(number: int, seed: int) -> Text:
    """Corners in words, to be written in MedMO's form; `number` names the text."""
    rng = random.Random(hash_number(seed, "box to write", number))
    boxes = []
    for _ in range(rng.randint(1, 3)):
        x1, y1 = rng.randrange(0, 900), rng.randrange(0, 900)
        boxes.append(LabelledBox(rng.choice(_NAMES), (x1, y1, x1 + rng.randrange(8, 100), y1 + rng.randrange(8, 100))))
    boxes.sort()
    told = [f"a {label} from ({x1}, {y1}) to ({x2}, {y2})" for label, (x1, y1, x2, y2) in boxes]
    return Text(
        f"boxes-{number:05d}",
        f"boxes-{number:05d}",
        f"Write these boxes in MedMO's form: {listed(told)}.",
        format_boxes(boxes),
    )
