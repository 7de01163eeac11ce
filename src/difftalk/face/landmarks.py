"""Which of the mesh's 478 points lie where: one table for all."""

from __future__ import annotations

from typing import Final

import numpy as np

POINTS: Final = 478
# The points on which alignment and pose rest: eyes, brows, nose bridge, temples. Nothing that the jaw or lips move.
UPPER: Final = np.array(
    [33, 133, 362, 263, 168, 6, 197, 9, 8, 107, 336, 70, 300, 46, 276, 127, 356, 10, 67, 297, 103, 332, 54, 284, 21,
     251, 162, 389, 151, 108, 337, 55, 285, 122, 351, 130, 359, 243, 463, 193, 417, 245, 465, 189, 413]
)  # fmt: skip
RIGHT_EYE: Final = (33, 133)  # corners; the person's right
LEFT_EYE: Final = (362, 263)
BLENDSHAPE_POINTS: Final = np.array(
    [0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
     81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
     154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249,
     251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314,
     317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
     384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473,
     474, 475, 476, 477]
)  # fmt: skip
LIP_TOP: Final = 13  # inner lips, middle
LIP_BOTTOM: Final = 14
UPPER_LIP: Final = 0  # outer lips, middle
LOWER_LIP: Final = 17
MOUTH_CORNERS: Final = (61, 291)  # outer lips
NOSE_BASE: Final = 2
CHIN_TIP: Final = 152
LIPS: Final = np.array(
    [0, 37, 39, 40, 185, 61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 13, 82, 81, 80, 191,
     78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312]
)  # fmt: skip
CHIN: Final = np.array([152, 148, 377, 176, 400, 175, 199])
OVAL: Final = np.array(
    [10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365,
     397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297, 338]
)  # fmt: skip
MESH_POINTS: Final = 468
LOWER_EDGE: Final = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])  # inner lips, corner to corner
UPPER_EDGE: Final = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308])
INNER_LIPS: Final = np.concatenate([LOWER_EDGE, UPPER_EDGE[-2:0:-1]])
CORNERS: Final = (78, 308)  # of the inner lips
LOWER_FACE: Final = np.concatenate([OVAL[10:27], [4]])  # the jaw and the nose's tip
OUTER_LIPS: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
UPPER_LIDS: Final = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER_LIDS: Final = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
BROWS: Final = np.array(
    [70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285]
)  # fmt: skip
