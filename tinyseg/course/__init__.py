"""The course pack: an assignment that hands itself out and grades itself.

    assignment.py   the master copy: its tasks, its tests, and the marks that say what students do not see
    handout.py      what the students, the instructor and Gradescope get
    testing.py      what the tests are written with: points, and checks that name the mistake
    worker.py       the process that runs student code;  sandbox.py  how the grader speaks with it
    grader.py       one submission;  results.py  what comes out: JSON, terminal, HTML
    classroom.py    a folder of submissions;  similarity.py  which of them are alike
"""
