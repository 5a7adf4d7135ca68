"""Findings in a chest radiology report: which of the 14 CheXpert labels it states, and whether as present or absent.

A rule-based reader in the manner of the CheXpert labeler and NegEx: a report is cut into clauses, each mention of a finding
takes the negation of its clause, and a mention in doubt ("possible", "cannot be excluded") states nothing. It knows the
wording of chest X-ray reports in English and nothing else; it is a check of consistency, not a diagnosis.

Source: Irvin et al. 2019 (CheXpert), the 14 labels; Chapman et al. 2001 (NegEx), negation by cue and scope.
"""

import re

_MENTIONS = {
    "Enlarged Cardiomediastinum": r"(?:widened|enlarged|prominent|wide) (?:cardio)?mediastin\w+|mediastinal widening",
    "Cardiomegaly": r"cardiomegaly|(?:enlarged|large) (?:heart|cardiac silhouette)"
    r"|(?:heart|cardiac silhouette)(?: size)? is (?:\w+ )?(?:enlarged|large)|cardiac enlargement",
    "Lung Lesion": r"(?:nodul|mass|lesion|tumou?r|neoplasm|metastas)\w*",
    "Lung Opacity": r"opaci\w+|airspace disease|infiltrat\w+|interstitial marking\w*",
    "Edema": r"o?edema|vascular congestion|(?:heart failure|chf)",
    "Consolidation": r"consolidat\w+",
    "Pneumonia": r"pneumoni[ac]\w*|bronchopneumonia",
    "Atelectasis": r"atelecta\w+|(?:lobar|lung|lobe) collapse",
    "Pneumothorax": r"pneumothora\w+|hydropneumothorax",
    "Pleural Effusion": r"effusions?|pleural fluid|hydrothorax",
    "Pleural Other": r"pleural (?:thickening|scarring|plaques?|calcifications?)|fibrothorax",
    "Fracture": r"fractur\w+",
    "Support Devices": r"catheter\w*|tubes?|pacemaker\w*|picc|central line\w*|sternotomy wires|clips|stents?|prosthe\w+",
}
_NORMAL = {
    "Enlarged Cardiomediastinum": r"(?:cardio)?mediastin\w+(?: \w+){0,4} (?:normal|unremarkable|within normal limits)"
    r"|(?:normal|unremarkable) (?:cardio)?mediastin\w+",
    "Cardiomegaly": r"(?:heart|cardiac(?: silhouette)?|cardiomediastinal silhouette)(?: \w+){0,4}"
    r" (?:normal|unremarkable|within normal limits)|normal heart size|heart is not enlarged",
    "Lung Opacity": r"lungs?(?: fields)?(?: \w+){0,3} clear(?! of)|clear lungs",
    "Fracture": r"(?:bones|osseous structures|bony structures)(?: \w+){0,3} intact",
}
_NO_FINDING = (
    r"no (?:acute|active) (?:cardio|pulmonary|disease|process|abnormalit|finding|chest|intrathoracic|radiographic)\w*"
    r"|normal (?:chest|study|examination|exam)\b|chest (?:x-?ray|radiograph) is normal|unremarkable chest|no finding\b"
)
NO_FINDING = "No Finding"
LABELS = (NO_FINDING, *_MENTIONS)

_CLAUSE = re.compile(r"[.;:\n!?]+|\b(?:but|however|although|except|whereas)\b|\bwith (?=new|small|mild|moderate|large)")
_NEGATES_WHAT_FOLLOWS = re.compile(
    r"\b(?:no|not|without|denies|absence of|absent|negative for|free of|clear of|rather than|resolution of|resolved"
    r"|ruled out|no evidence of|lack of|neither|nor)\b"
)
_NEGATES_WHAT_PRECEDES = re.compile(
    r"^(?:\W+\w+){0,4}?\W+(?:(?:is|are|was|were|has|have)\W+(?:\w+\W+){0,2}?(?:not|no longer|absent|resolved|excluded|cleared)"
    r"|(?:not|no longer) (?:seen|present|identified|visualized|evident)|ruled out|resolved)\b"
)
_DOUBT = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|suspected|suspicious|questionable|may|might|could|cannot (?:be )?(?:exclude\w*|rule\w*)"
    r"|can ?not|not exclude\w*|differential|versus|vs|concern\w*|likely|equivocal|evaluate for|rule out)\b"
)
_PATTERNS = {label: re.compile(rf"\b(?:{words})\b") for label, words in _MENTIONS.items()}
_NORMAL_PATTERNS = {label: re.compile(rf"\b(?:{words})") for label, words in _NORMAL.items()}
_NO_FINDING_PATTERN = re.compile(_NO_FINDING)
_MAX_CHARS = 32_768


def read_findings(report: str) -> dict[str, bool]:
    """The findings that a report states: True for present, False for absent; those it does not mention, or doubts, are left out.

    A finding that is stated both ways counts as present: "No effusion on the right. Small effusion on the left."
    """
    stated: dict[str, bool] = {}
    text = report[:_MAX_CHARS].lower()
    for clause in _CLAUSE.split(text):
        if _DOUBT.search(clause):
            continue
        cue = _NEGATES_WHAT_FOLLOWS.search(clause)
        for label, pattern in _PATTERNS.items():
            for mention in pattern.finditer(clause):
                negated = cue is not None and cue.start() < mention.start()
                negated = (
                    negated or _NEGATES_WHAT_PRECEDES.match(clause[mention.end() : mention.end() + 80]) is not None
                )
                stated[label] = stated.get(label, False) or not negated
        for label, pattern in _NORMAL_PATTERNS.items():
            if pattern.search(clause):
                stated.setdefault(label, False)
    if _NO_FINDING_PATTERN.search(text) and not any(stated.values()):
        stated[NO_FINDING] = True
    return stated
