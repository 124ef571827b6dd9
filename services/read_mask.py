"""Which field of a request says what is wanted of the answer (AIP-157), where fields are told apart by it.

It chooses nothing but the answer's form. Over REST no request has it: the transcoder prints what a mask
leaves out as "" or false, as if it were so. What prints an answer itself leaves out what is empty. And the
token of a page is good with any mask: it says where the next page begins.
"""

READ_MASK = "read_mask"
