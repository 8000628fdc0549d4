FROM base:1-slim AS onbuild

RUN mkdir -p /usr/src/app
WORKDIR /usr/src/app

ONBUILD ARG requirements=requirements.txt
ONBUILD COPY ${requirements} /usr/src/app/
ONBUILD RUN pip install --no-cache-dir -r ${requirements} && echo "${requirements}" > installed

ONBUILD COPY . /usr/src/app

FROM onbuild
RUN wc -l < "$requirements" >> installed
CMD ["python", "main.py"]
