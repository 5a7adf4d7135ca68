"""What a completion is worth: reading boxes from text, their geometry, the rewards, and the pool of actors that scores."""

from rewards.bbox import bbox_reward, bbox_rewards, box_scores, mean_iou
from rewards.boxes import Grammar, LabelledBox, ParsedBoxes, format_boxes, map_boxes, parse_boxes
from rewards.frames import Frame, from_frame, to_frame
from rewards.warm_up import warm_up

__all__ = [
    "Frame",
    "Grammar",
    "LabelledBox",
    "ParsedBoxes",
    "bbox_reward",
    "bbox_rewards",
    "box_scores",
    "format_boxes",
    "from_frame",
    "map_boxes",
    "mean_iou",
    "parse_boxes",
    "to_frame",
    "warm_up",
]
