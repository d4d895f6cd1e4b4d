"""Which of these classes does the picture show?"""
