"""A site's own check of its free text: a page of sampled notes to label, what the labels say, and the labels as a regression set.

anonymize audit-text RUN --sample 200 --out PAGE.html   # the page, for the steward
anonymize audit-text RUN --labels LABELS.json           # recall with an interval; the labels are kept
anonymize audit-text --check LABELS.json                # do the detectors of today find what was missed then?
"""
