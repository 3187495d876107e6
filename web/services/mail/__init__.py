"""Mail to people: composed here, sent by a job, one mail a person.

headers    what a header may have in it; every stranger's text goes through here
addresses  which addresses there are
messages   a mail, as a job carries it and as it goes over the wire
server     the server of MAIL_URL
postmen    bring mails to that server, or into files where there is none
jobs       the kind of job that sends one
"""
