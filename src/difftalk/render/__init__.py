"""Rendering: a reference's pixels and a target mesh -> a frame whose lower face is drawn anew."""
