"""The sync judge: does a mouth say what is heard?"""
